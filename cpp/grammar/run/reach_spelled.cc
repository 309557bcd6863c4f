// Reaches of fixed texts in JSON strings, such as the names of an object's keys.
//
// A text has few spellings and a token few of its bytes, so its spellings are looked up in the trie
// as they are. Derivatives would make a residual of every place in the text, within escapes too.
#include <algorithm>
#include <string>

#include "grammar/run/reach.h"
#include "grammar/typed/other_text.h"
#include "grammar/typed/str.h"
#include "support/chars.h"
#include "support/json_escape.h"
#include "support/utf8.h"

namespace treadle {

namespace {

// The spellings of one text as paths in the trie.
class Spellings {
 public:
  explicit Spellings(const TokenTrie& trie) : trie_(trie) {}

  // Finds the nodes that spell all of `text` (`whole`), and those on the way to them (`way`,
  // `whole` included). A text may begin inside a character.
  void find(std::string_view text);

  std::vector<uint32_t> way, whole;

 private:
  struct Place {
    uint32_t node;
    size_t at;
  };

  void add(Place place) {
    way.push_back(place.node);
    stack_.push_back(place);
  }
  // The nodes below `from` by a byte of `bytes`, one after the other.
  const std::vector<uint32_t>& step(uint32_t from, const ByteSet& bytes) {
    below_.clear();
    trie_.children(from, bytes, below_);
    return below_;
  }
  void unit(std::vector<uint32_t>& nodes, uint32_t value);
  void escapes(uint32_t slash, uint32_t code, size_t after);

  const TokenTrie& trie_;
  std::vector<Place> stack_;
  std::vector<uint32_t> below_;
};

// Goes on from `nodes` by a u and four digits of either case.
void Spellings::unit(std::vector<uint32_t>& nodes, uint32_t value) {
  const auto go = [&](const ByteSet& bytes) {
    std::vector<uint32_t> next;
    for (uint32_t node : nodes) trie_.children(node, bytes, next);
    way.insert(way.end(), next.begin(), next.end());
    nodes = std::move(next);
  };
  go(ByteSet::of('u'));
  for (int shift = 12; shift >= 0 && !nodes.empty(); shift -= 4) {
    const auto digit = static_cast<uint8_t>("0123456789abcdef"[value >> shift & 15]);
    ByteSet bytes = ByteSet::of(digit);
    if (digit >= 'a') bytes.insert(static_cast<uint8_t>(digit - 0x20));
    go(bytes);
  }
}

// Behind a backslash: the short escape, if there is one, and the long ones.
void Spellings::escapes(uint32_t slash, uint32_t code, size_t after) {
  const size_t named =
      code < 0x80 ? json_escape::kValues.find(static_cast<char>(code)) : std::string_view::npos;
  if (named != std::string_view::npos) {
    const auto name = static_cast<uint8_t>(json_escape::kNames[named]);
    for (uint32_t node : step(slash, ByteSet::of(name))) add({node, after});
  }
  std::vector<uint32_t> nodes{slash};
  if (code < 0x10000) {
    unit(nodes, code);
  } else {
    unit(nodes, 0xD800 + ((code - 0x10000) >> 10));
    std::vector<uint32_t> next;
    for (uint32_t node : nodes) trie_.children(node, ByteSet::of('\\'), next);
    way.insert(way.end(), next.begin(), next.end());
    nodes = std::move(next);
    unit(nodes, 0xDC00 + (code & 0x3FF));
  }
  for (uint32_t node : nodes) stack_.push_back({node, after});
}

void Spellings::find(std::string_view text) {
  way.clear();
  whole.clear();
  stack_.assign(1, {TokenTrie::kRoot, 0});
  while (!stack_.empty()) {
    const Place place = stack_.back();
    stack_.pop_back();
    if (place.at == text.size()) {
      whole.push_back(place.node);
      continue;
    }
    const auto byte = static_cast<uint8_t>(text[place.at]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') {
      for (uint32_t node : step(place.node, ByteSet::of(byte))) add({node, place.at + 1});
    }
    uint32_t code = 0;
    const size_t width = read_utf8(text, place.at, code);
    if (width == 0) continue;  // inside a character
    const std::vector<uint32_t> slashes = step(place.node, ByteSet::of('\\'));
    for (uint32_t node : slashes) {
      way.push_back(node);
      escapes(node, code, place.at + width);
    }
  }
}

// Appends the text that `ref` matches alone; false when it matches others.
bool read_literal(const Store& store, NodeRef ref, std::string& out) {
  for (; store.node(ref).kind == Kind::concat; ref = store.node(ref).b) {
    const NodeRef head = store.node(ref).a;
    if (store.node(head).kind != Kind::bytes) return false;
    out += store.text(head);
  }
  if (store.node(ref).kind != Kind::bytes) return false;
  out += store.text(ref);
  return true;
}

}  // namespace

// A text in a JSON string and what follows it. Null for any other residual.
Result<ReachRef> Reaches::walk_spelled(NodeRef residual, const Digest& digest, Fuel& fuel) {
  const Node node = store_.node(residual);
  const bool chained = node.kind == Kind::concat;
  const NodeRef text = raw_text(store_, chained ? node.a : residual);
  std::string literal;
  if (text == store_.empty() || !read_literal(store_, text, literal)) return ReachRef();
  if (!any_escapes(store_, chained ? node.a : residual)) return ReachRef();
  const NodeRef tail = chained ? node.b : store_.eps();
  Spellings spelled(vocab_.trie());
  spelled.find(literal);
  if (!fuel.spend(1 + spelled.way.size())) return fuel.status();
  std::vector<uint32_t> ends;
  bits_.reset();
  for (uint32_t at : spelled.way) bits_.set(vocab_.trie().nodes()[at].token());
  for (uint32_t at : spelled.whole) {
    if (vocab_.trie().nodes()[at].subtree() == 1) continue;
    if (store_.nullable(tail)) ends.push_back(at);
    if (tail != store_.eps()) walk_narrow(at, residuals_.of(tail), bits_, ends, fuel);
  }
  if (!store_.ok()) return store_.take_fault();
  std::sort(ends.begin(), ends.end());
  bits_.erase(vocab_.size());
  return std::make_shared<const Reach>(bits_, ends, vocab_.trie(), digest, true);
}

// walk_apart() for any text but a few, alone or with its closing quote: what differs is whether
// such a text may end there. False for any other residual.
bool Reaches::spelled_apart(NodeRef residual, const Reach& base, Reach::Change& change) {
  const Node node = store_.node(residual);
  const bool quoted = node.kind == Kind::concat;
  if (quoted && (store_.node(node.b).kind != Kind::bytes || store_.text(node.b) != "\"")) {
    return false;
  }
  const NodeRef leaf = quoted ? node.a : residual;
  const std::vector<std::string_view> words = words_left_out(store_, raw_text(store_, leaf));
  if (words.empty() || !any_escapes(store_, leaf)) return false;
  const TokenTrie& trie = vocab_.trie();
  Spellings spelled(trie);
  std::vector<uint32_t> gone;
  for (std::string_view word : words) {
    spelled.find(word);
    for (uint32_t at : spelled.whole) {
      if (quoted) trie.children(at, ByteSet::of('"'), gone);
      if (!quoted && at != TokenTrie::kRoot) gone.push_back(at);
    }
  }
  std::sort(gone.begin(), gone.end());
  for (uint32_t at : gone) {
    const uint32_t token = trie.nodes()[at].token();
    if (quoted && token != vocab_.size()) change.without.push_back(token);
    if (trie.nodes()[at].subtree() > 1 && base.has_end(at)) change.gone.push_back(at);
  }
  return true;
}

}  // namespace treadle
