// The tokens that go on behind a residual which ends in many of them, such as the text of a string.
//
// Who stands behind a string, and what comes after that, is nearly always the same few residuals:
// a quote, whitespace and a colon, a comma. What each says of the tokens that it is reached in is
// remembered under its digest and that of all before it (Reaches::behind), so that all states and
// all grammars share it.
#include <algorithm>

#include "grammar/run/compiled.h"

namespace treadle {

namespace {

constexpr size_t kMostLinks = 64;  // continuations looked up; a walk merges more

}  // namespace

// The subtrees in which the base of a changed reach goes on and the reach itself does not, and
// their tokens. False when the base may go on into them some other way as well.
bool Compiled::bar(const Reach& reach, const ByteSet& bytes, std::vector<uint32_t>& tokens) {
  barred_.clear();
  if (!reach.base()) return true;
  const TokenTrie& trie = vocab_->trie();
  std::span<const TrieNode> nodes = trie.nodes();
  auto goes_on = [&](uint32_t node) {
    uint32_t above = trie.parent(node);
    return above != TokenTrie::kRoot && bytes.contains(nodes[node].byte()) &&
           reach.base()->has_end(above);
  };
  for (uint32_t end : reach.change().gone) {
    children_.clear();
    trie.children(end, bytes, children_);
    for (uint32_t root : children_) {
      for (uint32_t at = end; at != TokenTrie::kRoot; at = trie.parent(at)) {
        if (goes_on(at)) return false;
      }
      uint32_t past = root + nodes[root].subtree();
      for (uint32_t at = root; at < past; ++at) {
        if (at > root && goes_on(at)) return false;
        tokens.push_back(nodes[at].token());
      }
      barred_.push_back({root, past});
    }
  }
  std::sort(barred_.begin(), barred_.end());
  return true;
}

// Where a reach goes on in few trie nodes, those are read on from.
Status Compiled::add_few(const Reach& reach, const Behind& behind, MaskBits& out, Fuel& fuel) {
  ByteSet bytes = behind.first & reach.next_bytes();
  for (; !bytes.empty(); bytes.erase(static_cast<uint8_t>(bytes.lowest()))) {
    auto byte = static_cast<uint8_t>(bytes.lowest());
    reach.next(byte, vocab_->trie(), children_);
    std::erase_if(children_, [&](uint32_t node) {
      auto above =
          std::ranges::upper_bound(barred_, node, {}, &std::pair<uint32_t, uint32_t>::first);
      return above != barred_.begin() && node < std::prev(above)->second;
    });
    Status status = follow_all(behind.state, byte, children_, out, fuel);
    if (!status.ok()) return status;
  }
  return ok_status();
}

// What `by` says of the tokens that go on with it behind an end of `reach`. False when somebody has
// to look closer.
Result<bool> Compiled::read_on(const ReachRef& reach, const Reading& by, MaskBits& out,
                               Fuel& fuel) {
  if ((residuals_.first(by.residual) & reach->next_bytes()).empty()) return true;
  NodeRef residual = residuals_.node(by.residual);
  if (by.doubt != Doubt::none || !states_.store().digest(residual).known()) return false;
  Result<ReachRef> next = reaches_.behind(*reach, residual, fuel);
  if (!next.ok()) return next.status();
  (*next)->add_to(out);
  if (by.cell == kBottom || (*next)->next_bytes().empty()) return true;
  bool known = std::ranges::any_of(
      links_, [&](const Link& other) { return other.reach == *next && other.cell == by.cell; });
  if (!known) links_.push_back({*next, by.cell});
  return true;
}

// Goes on behind links_. False when somebody has to look closer; then some tokens are missing.
Result<bool> Compiled::add_links(MaskBits& out, Fuel& fuel) {
  for (size_t at = 0; at < links_.size(); ++at) {
    if (at == kMostLinks) return false;
    const Link link = links_[at];
    const Behind behind = states_.behind(link.cell, fuel);
    if (behind.state == kFault) return states_.take_fault();
    if (!link.reach->many_next(behind.first & link.reach->next_bytes(), kFewNext)) {
      Status status = add_few(*link.reach, behind, out, fuel);
      if (!status.ok()) return status;
      continue;
    }
    for (const Reading& by : readings(behind.state)) {
      Result<bool> added = read_on(link.reach, by, out, fuel);
      if (!added.ok() || !*added) return added;
    }
  }
  return true;
}

// A changed reach goes on like its base, but for what is different about it.
Result<bool> Compiled::add_many(const ReachRef& reach, std::span<const Reading> entered,
                                const ByteSet& first, MaskBits& out, Fuel& fuel) {
  const ReachRef whole = reach->base() ? reach->base() : reach;
  if (!whole->digest().known()) return false;
  std::vector<uint32_t> tokens;
  if (!bar(*reach, first, tokens)) return false;
  std::erase_if(tokens, [&](uint32_t token) { return out.has(token); });
  links_.clear();
  Result<bool> added = true;
  for (const Reading& by : entered) {
    added = read_on(whole, by, out, fuel);
    if (!added.ok() || !*added) break;
  }
  if (added.ok() && *added) added = add_links(out, fuel);
  links_.clear();
  for (uint32_t token : tokens) out.erase(token);
  if (!added.ok() || !*added) return added;
  for (uint32_t end : reach->change().come) {
    children_.clear();
    vocab_->trie().children(end, first, children_);
    for (uint32_t child : children_) {
      for (const Reading& by : entered) {
        Status status = follow_by(by, vocab_->trie().nodes()[child].byte(), {&child, 1}, out, fuel);
        if (!status.ok()) return status;
      }
    }
  }
  return true;
}

// The tokens that `entered` go on with where `reach` may end. `shared`: others come by the same
// reach, so what is found out is worth keeping. False when those are too many to be
// looked at one by one.
Result<bool> Compiled::add_after(const ReachRef& reach, std::span<const Reading> entered,
                                 bool shared, MaskBits& out, Fuel& fuel) {
  constexpr size_t kMostRoots = 20'000;
  ByteSet first;
  for (const Reading& by : entered) first |= residuals_.first(by.residual);
  ByteSet bytes = first & reach->next_bytes();
  if (bytes.empty()) return true;
  std::vector<Reading> kept;
  if (shared && reach->many_next(bytes, kFewNext)) {
    kept.assign(entered.begin(), entered.end());  // readings() is asked for others meanwhile
    entered = kept;
    Result<bool> added = add_many(reach, entered, first, out, fuel);
    if (!added.ok() || *added) return added;
  }
  for (; !bytes.empty(); bytes.erase(static_cast<uint8_t>(bytes.lowest()))) {
    auto byte = static_cast<uint8_t>(bytes.lowest());
    reach->next(byte, vocab_->trie(), children_);
    if (children_.size() > kMostRoots) return false;
    for (const Reading& by : entered) {
      Status status = follow_by(by, byte, children_, out, fuel);
      if (!status.ok()) return status;
    }
  }
  return true;
}

}  // namespace treadle
