#include "grammar/front/dispatch.h"

#include <vector>

#include "grammar/front/choice.h"

namespace treadle {
namespace {

// The texts of `text` that have no `word` anywhere before a rest in `after`.
NodeRef without(Store& store, NodeRef text, NodeRef word, NodeRef after) {
  NodeRef parts[] = {store.anything(), word, after};
  return store.both(text, store.complement(store.concat(parts)));
}

}  // namespace

NodeRef up_to(Store& store, NodeRef text, std::string_view trigger, NodeRef triggers,
              NodeRef excludes) {
  NodeRef until = store.cat(text, store.bytes(trigger));
  until = without(store, until, triggers, store.plus(store.any_byte()));
  return excludes == store.empty() ? until : without(store, until, excludes, store.anything());
}

NodeRef text_without(Store& store, std::span<const std::string_view> words) {
  if (words.empty()) return store.any_text();
  return without(store, store.any_text(), literal_trie(store, words), store.anything());
}

NodeRef dispatch(Store& store, std::span<const Trigger> triggers,
                 std::span<const std::string_view> excludes, bool loop) {
  std::vector<std::string_view> words;
  for (const Trigger& trigger : triggers) words.push_back(trigger.text);
  NodeRef any_trigger = literal_trie(store, words);
  words.insert(words.end(), excludes.begin(), excludes.end());
  NodeRef text = text_without(store, words);
  NodeRef excluded = literal_trie(store, excludes);

  std::vector<NodeRef> branches;
  for (const Trigger& trigger : triggers) {
    NodeRef until = up_to(store, store.any_text(), trigger.text, any_trigger, excluded);
    branches.push_back(store.cat(until, trigger.after));
  }
  NodeRef turn = store.any_of(branches);
  return loop ? store.cat(store.star(turn), text) : store.alt(text, turn);
}

}  // namespace treadle
