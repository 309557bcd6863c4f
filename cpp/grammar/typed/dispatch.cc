#include "grammar/typed/dispatch.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "support/hash.h"

namespace treadle {
namespace {

constexpr uint32_t kNoRow = UINT32_MAX - 1;  // while the automaton is built
constexpr uint64_t kEntriesAUnit = 2;        // table entries that one unit of fuel pays for

// Where a text stands inside a UTF-8 sequence: what the next byte may be, and where it leads.
// Source: Unicode 15.0, table 3-7 (well-formed byte sequences).
enum class At : uint8_t { whole, one, two, three, e0, ed, f0, f4, invalid };

At after(At at, uint8_t byte) {
  const auto within = [&](uint8_t lo, uint8_t hi, At then) {
    return byte >= lo && byte <= hi ? then : At::invalid;
  };
  switch (at) {
    case At::whole:
      if (byte < 0x80) return At::whole;
      if (byte == 0xE0) return At::e0;
      if (byte == 0xED) return At::ed;
      if (byte == 0xF0) return At::f0;
      if (byte == 0xF4) return At::f4;
      if (byte >= 0xC2 && byte <= 0xDF) return At::one;
      if (byte >= 0xE1 && byte <= 0xEF) return At::two;
      return within(0xF1, 0xF3, At::three);
    case At::one:
      return within(0x80, 0xBF, At::whole);
    case At::two:
      return within(0x80, 0xBF, At::one);
    case At::three:
      return within(0x80, 0xBF, At::two);
    case At::e0:
      return within(0xA0, 0xBF, At::one);
    case At::ed:
      return within(0x80, 0x9F, At::one);
    case At::f0:
      return within(0x90, 0xBF, At::two);
    case At::f4:
      return within(0x80, 0x8F, At::two);
    case At::invalid:
      break;
  }
  return At::invalid;
}

// The bytes that lead from one place to another.
ByteSet between(At at, At then) {
  ByteSet out;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (after(at, static_cast<uint8_t>(byte)) == then) out.insert(static_cast<uint8_t>(byte));
  }
  return out;
}

struct Places {
  ByteSet to[9][9];
  Places() {
    for (unsigned a = 0; a < 9; ++a) {
      for (unsigned b = 0; b < 9; ++b) to[a][b] = between(static_cast<At>(a), static_cast<At>(b));
    }
  }
};

const ByteSet& bytes_between(At at, At then) {
  static const Places places;
  return places.to[static_cast<unsigned>(at)][static_cast<unsigned>(then)];
}

class FreeText final : public Typed {
 public:
  FreeText(std::shared_ptr<const Automaton> words, uint32_t row, At at)
      : Typed(TypedTag::free_text, true), words_(std::move(words)), row_(row), at_(at) {}

  uint64_t hash() const override {
    return mix(mix(static_cast<uint64_t>(tag), words_->hash()),
               static_cast<uint64_t>(row_) << 8 | static_cast<uint64_t>(at_));
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const FreeText&>(other);
    return row_ == that.row_ && at_ == that.at_ &&
           (words_ == that.words_ || *words_ == *that.words_);
  }
  Digest digest(Store&) const override {
    Digest out = Digest::of(static_cast<uint64_t>(tag)).add(words_->digest());
    return out.add(static_cast<uint64_t>(row_) << 8 | static_cast<uint64_t>(at_));
  }
  // The automaton is counted once, for the state that every text begins in.
  uint64_t bytes() const override {
    return sizeof(FreeText) + (row_ == 0 && at_ == At::whole ? words_->bytes() : 0);
  }
  bool nullable(Store&) const override { return at_ == At::whole; }
  ByteSet first(Store&) const override {
    return ~words_->bytes_to(row_, Automaton::kFound) & ~bytes_between(at_, At::invalid);
  }
  ByteSet same(Store&, uint8_t byte) const override {
    const At then = after(at_, byte);
    const ByteSet& place = bytes_between(at_, then);
    return then == At::invalid ? place : place & words_->bytes_to(row_, words_->next(row_, byte));
  }
  NodeRef derive(Store& store, uint8_t byte) const override {
    const At then = after(at_, byte);
    const uint32_t row = words_->next(row_, byte);
    if (then == At::invalid || row == Automaton::kFound) return store.empty();
    if (!alive(row, then)) return store.empty();
    return store.typed(std::make_unique<FreeText>(words_, row, then));
  }
  // Text that is on its way into a word, and text that is not.
  Beside beside(Store& store) const override {
    if (row_ == 0) return {};
    Beside out;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto each = static_cast<uint8_t>(byte);
      if (words_->next(row_, each) != words_->next(0, each)) out.differ.insert(each);
    }
    out.node = store.typed(std::make_unique<FreeText>(words_, 0, at_));
    return out;
  }
  bool at_root() const { return row_ == 0 && at_ == At::whole; }
  ByteSet loops() const {
    const ByteSet home = words_->bytes_to(0, 0);
    return (home & ~bytes_between(At::whole, At::invalid)) | ByteSet::range(0x80, 0xBF);
  }

 private:
  // Whether the character that has begun can be completed: words may exclude all that share its
  // first bytes. At most three bytes are missing, so the depth is three.
  bool alive(uint32_t row, At at) const {
    // No word begins inside a character, so the root stays the root until the next one.
    if (at == At::whole || row == 0) return true;
    ByteSet left = ~bytes_between(at, At::invalid);
    while (!left.empty()) {
      const auto byte = static_cast<uint8_t>(left.lowest());
      const At then = after(at, byte);
      const uint32_t target = words_->next(row, byte);
      if (target != Automaton::kFound && alive(target, then)) return true;
      left &= ~(bytes_between(at, then) & words_->bytes_to(row, target));
    }
    return false;
  }

  std::shared_ptr<const Automaton> words_;
  uint32_t row_;
  At at_;
};

}  // namespace

uint64_t Automaton::cost(std::span<const std::string> words) {
  ByteSet used;
  uint64_t rows = 1;
  for (const std::string& word : words) {
    rows += word.size();
    for (const char c : word) used.insert(static_cast<uint8_t>(c));
  }
  return rows * (used.count() + 1);
}

Automaton::Automaton(std::vector<std::string> words) : words_(std::move(words)) {
  std::sort(words_.begin(), words_.end());
  words_.erase(std::unique(words_.begin(), words_.end()), words_.end());
  digest_ = Digest::of(words_.size());
  for (const std::string& word : words_) {
    hash_ = hash_bytes(word, hash_);
    digest_.add(word);
  }
}

void Automaton::build() const {
  table_ = std::make_unique<Table>();
  std::vector<uint32_t>& table = table_->to;  // no bindings: clang 14 captures none of them
  std::vector<ByteSet>& columns = table_->columns;
  auto& column = table_->column;
  ByteSet used;
  for (const std::string& word : words_) {
    for (const char c : word) used.insert(static_cast<uint8_t>(c));
  }
  columns.push_back(~used);  // empty when the words use every byte
  used.each([&](uint8_t byte) {
    column[byte] = static_cast<uint8_t>(columns.size() - (columns[0].empty() ? 1 : 0));
    columns.push_back(ByteSet::of(byte));
  });
  if (columns[0].empty()) columns.erase(columns.begin());
  const size_t width = columns.size();
  table.assign(width, kNoRow);
  for (const std::string& word : words_) {  // sorted: a word's prefix comes before it
    uint32_t row = 0;
    for (size_t i = 0; i < word.size() && row != kFound; ++i) {
      const size_t slot = row * width + column[static_cast<uint8_t>(word[i])];
      if (table[slot] == kNoRow) {
        const bool last = i + 1 == word.size();
        table[slot] = last ? kFound : static_cast<uint32_t>(table.size() / width);
        if (!last) table.resize(table.size() + width, kNoRow);
      }
      row = table[slot];
    }
  }
  // Breadth first: a missing transition, and a word that is a suffix, come from the failure row.
  std::vector<uint32_t> failure(table.size() / width, 0);
  std::vector<uint32_t> queue{0};
  for (size_t i = 0; i < queue.size(); ++i) {
    const uint32_t row = queue[i];
    for (size_t c = 0; c < width; ++c) {
      uint32_t& to = table[row * width + c];
      const uint32_t fallback = row == 0 ? 0 : table[failure[row] * width + c];
      if (to == kNoRow || fallback == kFound) {
        to = fallback;
      } else if (to != kFound) {
        failure[to] = fallback;
        queue.push_back(to);
      }
    }
  }
}

bool Automaton::found_in(std::string_view text) const {
  uint32_t row = 0;
  for (size_t i = 0; i < text.size() && row != kFound; ++i) {
    row = next(row, static_cast<uint8_t>(text[i]));
  }
  return row == kFound;
}

ByteSet Automaton::bytes_to(uint32_t row, uint32_t target) const {
  const Table& table = this->table();
  const size_t width = table.columns.size();
  ByteSet out;
  for (size_t c = 0; c < width; ++c) {
    if (table.to[row * width + c] == target) out |= table.columns[c];
  }
  return out;
}

NodeRef free_text(Store& store, std::span<const std::string> excludes) {
  std::vector<std::string> words(excludes.begin(), excludes.end());
  std::erase_if(words, [](const std::string& word) { return word.empty(); });
  Fuel* fuel = store.fuel();
  if (fuel != nullptr && !fuel->spend(Automaton::cost(words) / kEntriesAUnit)) {
    store.fail(fuel->status());
    return store.empty();
  }
  auto automaton = std::make_shared<const Automaton>(std::move(words));
  return store.typed(std::make_unique<FreeText>(std::move(automaton), 0, At::whole));
}

std::optional<ByteSet> free_bytes(const Store& store, NodeRef node) {
  NodeRef head = node;
  if (store.node(head).kind == Kind::concat) head = store.node(head).a;
  if (store.node(head).kind != Kind::leaf) return std::nullopt;
  const Typed& typed = store.typed_of(head);
  if (typed.tag != TypedTag::free_text) return std::nullopt;
  const auto& text = static_cast<const FreeText&>(typed);
  return text.at_root() ? std::optional(text.loops()) : std::nullopt;
}

}  // namespace treadle
