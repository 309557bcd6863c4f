#include "grammar/run/compiler.h"

namespace treadle {

namespace {

constexpr size_t kMaxEntries = 4'096;

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
      index_.erase(found);  // its budget of derived nodes runs low: new requests start afresh
      entries_.erase(entry);
    }
  }
  if (!parsed.store) {
    parsed.store = std::make_unique<Store>(limits_);
    Notes notes;
    Result<NodeRef> root = build_source(*parsed.store, source, limits_, notes);
    if (!root.ok()) return root.status();
    parsed.root = *root;
  }
  Result<CompiledRef> compiled =
      Compiled::build(std::move(parsed.store), parsed.root, vocab_, memos_, limits_);
  if (!compiled.ok()) return compiled;
  Guard guard(lock_);
  if (index_.contains(key)) return compiled;  // another thread was faster; both are right
  entries_.push_front({std::move(key), *compiled});
  index_[entries_.front().key] = entries_.begin();
  trim();
  return compiled;
}

uint64_t Compiler::memory_of(const CompiledRef& compiled) {
  Guard guard(compiled->lock);
  return compiled->memory();
}

// Drops the least recently used grammars until the rest fits.
void Compiler::trim() {
  uint64_t total = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    total += memory_of(entry->compiled);
  }
  while (entries_.size() > 1 &&
         (total > limits_.cache_bytes / 2 || entries_.size() > kMaxEntries)) {
    total -= memory_of(entries_.back().compiled);
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

uint64_t Compiler::memory() {
  Guard guard(lock_);
  uint64_t total = memos_.masks->memory() + memos_.reaches->memory();
  for (const Entry& entry : entries_) total += memory_of(entry.compiled);
  return total;
}

uint64_t Compiler::cached() {
  Guard guard(lock_);
  return entries_.size();
}

void Compiler::clear() {
  Guard guard(lock_);
  index_.clear();
  entries_.clear();
  memos_.masks->clear();
  memos_.reaches->clear();
}

}  // namespace treadle
