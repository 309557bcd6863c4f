#include "grammar/front/schema_words.h"

#include <algorithm>
#include <map>
#include <utility>

#include "grammar/typed/str.h"

namespace treadle::schema {
namespace {

constexpr size_t kWords = 64;
constexpr size_t kLength = 128;
constexpr size_t kSteps = 4'096;
constexpr uint64_t kStepCost = 8;  // fuel for one derivative
constexpr size_t kLevels = 1'024;  // longest words counted

}  // namespace

std::optional<std::vector<std::string>> words_of(Store& store, NodeRef text, Fuel& fuel) {
  std::vector<std::string> out;
  std::vector<std::pair<NodeRef, std::string>> open{{text, ""}};
  for (size_t steps = 0; !open.empty();) {
    const NodeRef node = open.back().first;  // names: clang 14 captures no bindings
    const std::string word = std::move(open.back().second);
    open.pop_back();
    if (node != store.eps() && !has_member(store, node)) continue;
    if (store.node(node).facts.nullable) out.push_back(word);
    if (word.size() >= kLength || out.size() > kWords) return std::nullopt;
    const ByteSet bytes = store.first(node);
    bool room = true;
    bytes.each([&](uint8_t byte) {
      room = room && ++steps <= kSteps && fuel.spend(kStepCost);
      if (!room) return;
      const NodeRef rest = store.derive(node, byte);
      if (rest != store.empty()) open.emplace_back(rest, word + static_cast<char>(byte));
    });
    if (!room || !store.ok()) return std::nullopt;
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool more_words(Store& store, NodeRef text, uint64_t count, Fuel& fuel) {
  std::map<NodeRef, uint64_t> level{{text, 1}};  // the rests after as many bytes, and of how many
  uint64_t found = 0;
  size_t steps = 0;
  for (size_t length = 0; length < kLevels && !level.empty(); ++length) {
    std::map<NodeRef, uint64_t> next;
    for (const auto& [node, ways] : level) {
      if (store.node(node).facts.nullable) found += ways;
      if (found > count) return true;
      ByteSet left = store.first(node);
      while (!left.empty()) {
        if (++steps > kSteps || !fuel.spend(kStepCost)) return false;
        const auto byte = static_cast<uint8_t>(left.lowest());
        ByteSet alike = store.same(node, byte) & left;
        alike.insert(byte);
        left &= ~alike;
        const NodeRef rest = store.derive(node, byte);
        if (!store.ok()) return false;
        if (rest == store.empty()) continue;
        uint64_t& known = next[rest];
        known = std::min<uint64_t>(known + ways * alike.count(), count + 1);
      }
    }
    level = std::move(next);
  }
  return false;
}

}  // namespace treadle::schema
