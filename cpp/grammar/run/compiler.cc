#include "grammar/run/compiler.h"

#include <algorithm>
#include <iterator>

#include "grammar/run/disk.h"
#include "support/heap.h"

namespace treadle {

namespace {

constexpr size_t kMaxEntries = 4'096;
constexpr uint64_t kSourceBytes = 4;  // for one of the source: it is the key, and read it is a tree
constexpr size_t kLooks = 2;          // at older grammars, each time one is compiled
constexpr uint64_t kScattered = 2;    // this part of the cache dropped leaves holes worth a look
constexpr size_t kDrops = 4;          // grammars freed by one compilation
constexpr uint64_t kOver = 16;        // unless the cache is too full by this part

}  // namespace

Result<CompiledRef> Compiler::compile(const Source& source, Parsed parsed) {
  std::string key = source.key();
  {
    Guard guard(lock_);
    auto found = index_.find(key);
    if (found != index_.end()) {
      auto entry = found->second;
      bool worn = false;
      {
        Guard inner(entry->compiled->lock);
        worn = entry->compiled->worn();
      }
      if (!worn) {
        entries_.splice(entries_.begin(), entries_, entry);
        return entry->compiled;
      }
      drop(entry);  // its budget of derived nodes runs low: new requests start afresh
    }
  }
  const auto special = [this](std::string_view name) { return vocab_->is_special(name); };
  // Read without a vocabulary, texts that spell special tokens stayed texts.
  if (parsed.store && std::ranges::any_of(parsed.store->asked_special(), special)) {
    parsed.store.reset();
  }
  if (!parsed.store) {
    parsed.store = std::make_unique<Store>(limits_);
    parsed.store->know_specials(special);
    Notes notes;
    RuleMarks marks;
    Result<NodeRef> root = build_source(*parsed.store, source, limits_, notes, &marks);
    if (!root.ok() && marks.captures) {  // which cannot be read beside special tokens
      parsed.store = std::make_unique<Store>(limits_);
      root = build_source(*parsed.store, source, limits_, notes, &marks);
    }
    if (!root.ok()) return root.status();
    parsed.store->know_specials({});
    parsed.root = *root;
  }
  Result<CompiledRef> compiled =
      Compiled::build(std::move(parsed.store), parsed.root, vocab_, memos_, limits_);
  if (!compiled.ok()) return compiled;
  bool scattered = false;
  {
    Guard guard(lock_);
    entries_.push_front({std::move(key), *compiled});
    if (!index_.try_emplace(entries_.front().key, entries_.begin()).second) {
      entries_.pop_front();  // another thread was faster; both are right
      return compiled;
    }
    trim();
    scattered = dropped_ > limits_.cache_bytes / kScattered;
    if (scattered) dropped_ = 0;
  }
  if (scattered) give_back_heap();
  return compiled;
}

void Compiler::look(Entry& entry) {
  Guard guard(entry.compiled->lock);
  bytes_ -= entry.bytes;
  entry.bytes = entry.compiled->memory() + kSourceBytes * entry.key.size();
  bytes_ += entry.bytes;
}

void Compiler::drop(Entries::iterator entry) {
  if (next_ == entry) ++next_;
  bytes_ -= entry->bytes;
  dropped_ += entry->bytes;
  index_.erase(entry->key);
  entries_.erase(entry);
}

// Drops the least recently used grammars until the rest fits, a few at a time, so that the price of
// a huge new grammar is shared. What they hold grows between compilations, most of all in the one
// used last; so each compilation looks at the new grammar, at the one before it and, in turn, at
// the next few of all. None of them is in the processor's caches any more: a few are what a look
// costs.
void Compiler::trim() {
  look(entries_.front());
  if (entries_.size() > 1) look(*std::next(entries_.begin()));
  for (size_t i = 0; i < std::min(kLooks, entries_.size()); ++i) {
    if (next_ == entries_.end()) next_ = entries_.begin();
    look(*next_++);
  }
  const uint64_t most = limits_.cache_bytes / 2;
  for (size_t dropped = 0; entries_.size() > 1; ++dropped) {
    const uint64_t bound = dropped < kDrops ? most : most + most / kOver;
    if (bytes_ <= bound && entries_.size() <= kMaxEntries) break;
    drop(std::prev(entries_.end()));
  }
}

uint64_t Compiler::memory() {
  Guard guard(lock_);
  for (Entry& entry : entries_) look(entry);
  return memos_.masks->memory() + memos_.reaches->memory() + bytes_;
}

uint64_t Compiler::cached() {
  Guard guard(lock_);
  return entries_.size();
}

uint64_t Compiler::recall(std::string block, std::string_view build) {
  const auto stored = StoredReaches::open(std::move(block), vocab_, build);
  if (!stored || !adopt_digest_key(stored->key())) return 0;
  memos_.reaches->rely_on(stored);
  return stored->size();
}

std::string Compiler::remember(std::string_view build, uint64_t most) {
  return store_reaches(memos_.reaches->recent(), memos_.reaches->stored().get(), *vocab_, build,
                       most);
}

void Compiler::clear() {
  Guard guard(lock_);
  index_.clear();
  entries_.clear();
  next_ = entries_.end();
  bytes_ = 0;
  memos_.masks->clear();
  memos_.reaches->clear();
  give_back_heap();
}

}  // namespace treadle
