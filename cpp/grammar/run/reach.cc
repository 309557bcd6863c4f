#include "grammar/run/reach.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "grammar/run/disk.h"

namespace treadle {

namespace {

constexpr size_t kMostNext = 8'192;  // trie nodes behind ends that a reach lists

}  // namespace

Reach::Reach(const MaskBits& bits, std::span<const uint32_t> ends, const TokenTrie& trie,
             const Digest& digest, bool all_ends)
    : digest_(digest), inner_(bits), all_ends_(all_ends) {
  std::vector<uint32_t> children;
  for (uint32_t end : ends) {
    trie.children(end, ByteSet(), children);
    if (children.size() > kMostNext) break;
  }
  wide_ = children.size() > kMostNext;
  if (wide_) {
    ends_.assign(trie.nodes().size() / 32 + 1, 0);
    for (uint32_t end : ends) ends_[end >> 5] |= uint32_t{1} << (end & 31);
    next_bytes_ = ByteSet::all();
    return;
  }
  ends_.assign(ends.begin(), ends.end());
  std::array<uint32_t, 256> counts{};
  for (uint32_t i : children) ++counts[trie.nodes()[i].byte()];
  uint32_t total = 0;  // from here on `counts` is where the next node of a byte goes
  for (unsigned byte = 0; byte < counts.size(); ++byte) {
    if (counts[byte] == 0) continue;
    next_bytes_.insert(static_cast<uint8_t>(byte));
    starts_.push_back(total);
    total += std::exchange(counts[byte], total);
  }
  starts_.push_back(total);
  nodes_.resize(total);
  for (uint32_t i : children) nodes_[counts[trie.nodes()[i].byte()]++] = i;
}

Reach::Reach(ReachRef base, Change change, const TokenTrie& trie)
    : base_(std::move(base)),
      change_(std::move(change)),
      all_ends_(base_->all_ends_),
      next_bytes_(base_->next_bytes()) {
  for (uint32_t end : change_.come) {
    std::span<const TrieNode> nodes = trie.nodes();
    uint32_t last = end + nodes[end].subtree();
    for (uint32_t i = end + 1; i < last; i += nodes[i].subtree()) {
      next_bytes_.insert(nodes[i].byte());
    }
  }
}

void Reach::add_to(MaskBits& bits) const {
  if (!base_) return inner_.add_to(bits);
  std::vector<uint32_t> there;  // what somebody else has allowed stays
  for (uint32_t token : change_.without) {
    if (bits.has(token)) there.push_back(token);
  }
  base_->add_to(bits);
  for (uint32_t token : change_.without) bits.erase(token);
  for (uint32_t token : there) bits.set(token);
  for (uint32_t token : change_.with) bits.set(token);
}

void Reach::next(uint8_t byte, const TokenTrie& trie, std::vector<uint32_t>& out) const {
  out.clear();
  if (base_) {
    base_->next(byte, trie, out);
    if (!change_.gone.empty()) {
      std::erase_if(out, [&](uint32_t node) {
        return std::ranges::binary_search(change_.gone, trie.parent(node));
      });
    }
    for (uint32_t end : change_.come) trie.children(end, ByteSet::of(byte), out);
    return;
  }
  if (wide_) {
    for (uint32_t i : trie.of_byte(byte)) {
      uint32_t above = trie.parent(i);
      if (above != TokenTrie::kRoot && (ends_[above >> 5] >> (above & 31) & 1)) out.push_back(i);
    }
    return;
  }
  if (!next_bytes_.contains(byte)) return;
  size_t at = next_bytes_.rank(byte);
  out.assign(nodes_.begin() + starts_[at], nodes_.begin() + starts_[at + 1]);
}

bool Reach::many_next(const ByteSet& bytes, size_t few) const {
  const Reach& whole = base_ ? *base_ : *this;
  if (whole.wide_) return true;
  size_t total = 0;
  (bytes & whole.next_bytes_).each([&](uint8_t byte) {
    size_t at = whole.next_bytes_.rank(byte);
    total += whole.starts_[at + 1] - whole.starts_[at];
  });
  return total > few;
}

bool Reach::has_end(uint32_t node) const {
  if (base_) {
    if (std::ranges::binary_search(change_.come, node)) return true;
    return !std::ranges::binary_search(change_.gone, node) && base_->has_end(node);
  }
  if (wide_) return ends_[node >> 5] >> (node & 31) & 1;
  return std::ranges::binary_search(ends_, node);
}

void Reach::ends(std::vector<uint32_t>& out) const {
  if (base_) {
    base_->ends(out);
    std::erase_if(out, [&](uint32_t end) { return std::ranges::binary_search(change_.gone, end); });
    out.insert(out.end(), change_.come.begin(), change_.come.end());
    return;
  }
  if (!wide_) {
    out.insert(out.end(), ends_.begin(), ends_.end());
    return;
  }
  for (size_t i = 0; i < ends_.size(); ++i) {
    for (uint32_t word = ends_[i]; word; word &= word - 1) {
      out.push_back(static_cast<uint32_t>(i * 32) + static_cast<uint32_t>(std::countr_zero(word)));
    }
  }
}

uint64_t Reach::memory() const {
  return sizeof(Reach) + inner_.memory() +
         4 * (ends_.capacity() + nodes_.capacity() + starts_.capacity() + change_.size());
}

ReachRef ReachMemo::find(const Digest& digest) {
  Guard guard(lock_);
  auto found = entries_.find(digest);
  if (found == entries_.end()) {
    ReachRef reach = stored_ ? stored_->find(digest) : nullptr;
    if (reach) add(digest, reach);
    return reach;
  }
  found->second.used = ++clock_;
  return found->second.reach;
}

void ReachMemo::rely_on(std::shared_ptr<const StoredReaches> stored) {
  Guard guard(lock_);
  stored_ = std::move(stored);
}

std::shared_ptr<const StoredReaches> ReachMemo::stored() {
  Guard guard(lock_);
  return stored_;
}

std::vector<std::pair<Digest, ReachRef>> ReachMemo::recent() {
  std::vector<std::pair<uint64_t, Digest>> order;
  Guard guard(lock_);
  for (const auto& [digest, entry] : entries_) order.push_back({entry.used, digest});
  std::sort(order.rbegin(), order.rend());
  std::vector<std::pair<Digest, ReachRef>> out;
  for (const auto& [used, digest] : order) out.push_back({digest, entries_[digest].reach});
  return out;
}

void ReachMemo::put(const Digest& digest, ReachRef reach) {
  Guard guard(lock_);
  add(digest, std::move(reach));
}

void ReachMemo::add(const Digest& digest, ReachRef reach) {
  uint64_t bytes = reach->memory();
  if (!entries_.try_emplace(digest, Entry{std::move(reach), ++clock_}).second) return;
  bytes_ += bytes;
  if (bytes_ > budget_) sweep();
}

void ReachMemo::sweep() {
  std::vector<std::pair<uint64_t, Digest>> order;
  for (const auto& [digest, entry] : entries_) order.push_back({entry.used, digest});
  std::sort(order.begin(), order.end());
  for (const auto& [used, digest] : order) {
    if (bytes_ <= budget_ / 2) break;
    auto found = entries_.find(digest);
    bytes_ -= found->second.reach->memory();
    entries_.erase(found);
  }
}

void ReachMemo::clear() {
  Guard guard(lock_);
  entries_.clear();
  stored_.reset();
  bytes_ = 0;
}

uint64_t ReachMemo::memory() {
  Guard guard(lock_);
  return bytes_ + (stored_ ? stored_->memory() : 0);
}

void Reaches::clear() {
  own_.clear();
  common_.clear();
  between_.clear();
  own_bytes_ = 0;
}

// The reach of a residual that nobody has asked for: from simpler ones, or by a walk.
Result<ReachRef> Reaches::make(NodeRef residual, const Digest& digest, Fuel& fuel) {
  Result<ReachRef> found = walk_spelled(residual, digest, fuel);
  if (found.ok() && !*found) found = walk_run(residual, digest, fuel);
  if (found.ok() && !*found) found = walk_counted(residual, digest, fuel);
  if (!found.ok() || *found) return found;
  bits_.reset();
  SliceRef slice = slice_of(residual, bits_);
  if (!slice) {
    found = walk_beside(residual, digest, fuel);
    if (found.ok() && !*found) found = walk_bounded(residual, digest, fuel);
    if (found.ok() && !*found) found = walk_between(residual, digest, fuel);
    if (!found.ok() || *found) return found;
    bits_.reset();  // looking for others used it
  }
  std::vector<uint32_t> ends;
  Status status = walk(residuals_.of(residual), slice, bits_, ends, fuel);
  if (!status.ok()) return status;
  if (!std::ranges::is_sorted(ends)) std::sort(ends.begin(), ends.end());
  bits_.erase(vocab_.size());
  return std::make_shared<const Reach>(bits_, ends, vocab_.trie(), digest, !slice);
}

Result<ReachRef> Reaches::of(NodeRef residual, Fuel& fuel) {
  auto own = own_.find(residual);
  if (own != own_.end()) return own->second;
  Digest digest = store_.digest(residual);
  ReachRef reach = digest.known() ? memo_->find(digest) : nullptr;
  if (!reach) {
    Result<ReachRef> made = make(residual, digest, fuel);
    if (!made.ok()) return made;
    reach = *made;
    if (digest.known()) memo_->put(digest, reach);
  }
  own_bytes_ += reach->memory();
  if (own_bytes_ > kOwnBytes) {
    clear();
    own_bytes_ = reach->memory();
  }
  own_[residual] = reach;
  return reach;
}

// A loop over a class without a bound, but for a few texts: any key but the named ones. A loop
// alone is not worth it: what it begins is looked up at once, and few bytes go on behind it.
bool Reaches::common(NodeRef residual) {
  auto [found, fresh] = common_.try_emplace(residual, false);
  if (!fresh) return found->second;
  NodeRef beside = store_.beside(residual).node;
  if (beside == store_.empty()) return false;
  found->second = loops_.find(store_, beside).units >= kSliceUnits;
  return found->second;
}

// A loop of the residual over a class of characters gives a slice: its tokens are legal unseen, and
// only the others are walked. A loop with fewer units than a token may have says nothing of longer
// tokens, unless nothing but the loop can take them.
SliceRef Reaches::slice_of(NodeRef residual, MaskBits& bits) {
  Loop loop = loops_.find(store_, residual);
  if (loop.units == 0) return nullptr;
  if (loop.units < kSliceUnits && loop.longer != Loop::Longer::no) return nullptr;
  SliceRef slice = vocab_.slice(loop.chars);
  if (!slice) return nullptr;
  bits.add(slice->at_most(loop.units));
  for (const TokenId token : slice->longer(loop.units)) bits.set(token);
  return slice;
}

// Where few bytes go on, their nodes are looked up: a walk along one text. The store holds a fault.
void Reaches::walk_narrow(uint32_t root, ResidualId from, MaskBits& bits,
                          std::vector<uint32_t>& ends, Fuel& fuel) {
  const TokenTrie& trie = vocab_.trie();
  std::span<const TrieNode> nodes = trie.nodes();
  narrow_.assign(1, {root, from});
  const auto reach = [&](uint32_t node, uint32_t entry) {
    bits.set(nodes[node].token());
    if (nodes[node].subtree() == 1) return;
    if (entry & Residuals::kEnds) ends.push_back(node);
    narrow_.push_back({node, entry & ~Residuals::kEnds});
  };
  while (!narrow_.empty()) {
    auto [node, id] = narrow_.back();
    narrow_.pop_back();
    const Residuals::Literal literal = residuals_.literal(id);
    if (!literal.text.empty()) {
      if (!fuel.spend(literal.text.size())) return store_.fail(fuel.status());
      const uint32_t last = add_spelled(trie, node, literal.text, bits);
      if (last != TokenTrie::kRoot) reach(last, residuals_.entry_of(literal.tail));
      continue;
    }
    const ByteSet first = residuals_.first(id);
    if (first.empty()) continue;
    below_.clear();
    trie.children(node, first, below_);
    if (!fuel.spend(below_.size() + 1)) return store_.fail(fuel.status());
    for (uint32_t i : below_) {
      uint32_t to = residuals_.step(id, nodes[i].byte(), fuel);
      if (to == kDeadResidual) continue;
      if (to == Residuals::kFault) return;
      reach(i, to);
    }
  }
}

// Slot d of the stack holds the residual after d bytes; a dead byte skips the whole subtree. Nodes
// without a token set the bit after the last one, which is cheaper than a branch that guesses.
Status Reaches::walk(ResidualId from, const SliceRef& slice, MaskBits& out,
                     std::vector<uint32_t>& ends, Fuel& fuel) {
  std::array<ResidualId, kMaxTrieDepth + 1> stack;
  std::array<const uint32_t*, kMaxTrieDepth + 1> rows;
  std::span<const TrieNode> nodes = (slice ? slice->rest() : vocab_.trie()).nodes();
  if (!slice && residuals_.narrow(from)) {
    walk_narrow(TokenTrie::kRoot, from, out, ends, fuel);
    return store_.ok() ? ok_status() : store_.take_fault();
  }
  stack[0] = from;
  rows[0] = residuals_.row(from);
  uint32_t* bits = out.open();
  uint64_t visited = 0;
  const auto walk_range = [&](size_t i, size_t past) {
    for (; i < past; ++visited) {
      TrieNode node = nodes[i];
      uint32_t depth = node.depth();
      uint32_t to = rows[depth][node.byte()];
      if (to == Residuals::kUnknown) [[unlikely]]
        to = residuals_.step(stack[depth], node.byte(), fuel);
      if (to == kDeadResidual) {
        i += node.subtree();
        continue;
      }
      if (to == Residuals::kFault) [[unlikely]]
        return;
      uint32_t token = node.token();
      bits[token >> 5] |= uint32_t{1} << (token & 31);
      if (node.subtree() > 1) {
        uint32_t at = slice ? slice->origin(i) : static_cast<uint32_t>(i);
        if (to & Residuals::kEnds) ends.push_back(at);
        to &= ~Residuals::kEnds;
        if (node.subtree() >= kBushy && residuals_.narrow(to)) {
          walk_narrow(at, to, out, ends, fuel);
          i += node.subtree();
          continue;
        }
        rows[depth + 1] = residuals_.row(to);
        stack[depth + 1] = to;
      }
      ++i;
    }
  };
  if (slice) {
    walk_range(0, nodes.size());
  } else {
    // First bytes lie far apart, so those that cannot begin anything are not even looked at.
    std::vector<uint32_t> roots;
    vocab_.trie().children(TokenTrie::kRoot, residuals_.first(from), roots);
    for (const uint32_t root : roots) {
      walk_range(root, root + nodes[root].subtree());
      if (!store_.ok()) break;
    }
  }
  if (!store_.ok()) return store_.take_fault();
  return fuel.spend(visited) ? ok_status() : fuel.status();
}

}  // namespace treadle
