// The store of one grammar: interns nodes, normalises them as they are made, derives them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/ir/node.h"
#include "grammar/ir/typed.h"
#include "grammar/run/limits.h"
#include "support/bitset.h"
#include "support/budget.h"
#include "support/digest.h"
#include "support/flat_map.h"
#include "support/result.h"

namespace treadle {

class CharSet;
struct Utf8Sequence;

// Interns nodes by structure. Constructors are *smart*: they return an equal or simpler node.
// Not thread-safe; one lock guards a store together with the states built on it.
//
// Faults: constructors and derive() return plain NodeRefs. When a budget runs out the store
// remembers the Status, every later call returns empty() and nothing is memoised; whoever started
// the work asks fault() at the end and drops what was built.
class Store {
 public:
  explicit Store(const Limits& limits = {});
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // --- constructors ---
  NodeRef empty() const { return 0; }
  NodeRef eps() const { return 1; }
  NodeRef bytes(std::string_view text);  // "" = eps
  NodeRef byte_set(const ByteSet& set);  // one byte; the empty set = empty()
  NodeRef chars(const CharSet& set);     // one code point as UTF-8
  NodeRef any_byte();                    // one byte
  NodeRef any_char();                    // one Unicode scalar value as UTF-8
  NodeRef any_text();                    // any_char()*
  NodeRef anything();                    // any_byte()*: the complement of empty()
  NodeRef concat(std::span<const NodeRef> parts);
  NodeRef cat(NodeRef a, NodeRef b);
  NodeRef any_of(std::span<const NodeRef> choices);
  NodeRef alt(NodeRef a, NodeRef b);
  NodeRef both(NodeRef a, NodeRef b);  // regular operands only
  NodeRef complement(NodeRef a);       // over byte strings; regular operand only
  NodeRef repeat(NodeRef a, uint32_t lo, uint32_t hi);
  NodeRef optional(NodeRef a) { return repeat(a, 0, 1); }
  NodeRef star(NodeRef a) { return repeat(a, 0, kOpen); }
  NodeRef plus(NodeRef a) { return repeat(a, 1, kOpen); }
  RuleId declare(std::string name);
  void define(RuleId rule, NodeRef body);  // may be called again: the last body counts
  void replace_body(RuleId rule, NodeRef body) { rules_[rule].body = body; }  // same language
  NodeRef ref(RuleId rule);
  NodeRef typed(std::unique_ptr<Typed> node);
  NodeRef tokens(TokenSet set);  // one token; not regular

  // Whether the vocabulary has a control token of this name, so that a text which spells the name
  // may be written by that token. No vocabulary is known while a grammar is only read: then the
  // question is kept, and the compiler reads it again if the answer would be yes.
  bool special(std::string_view name);
  const std::set<std::string, std::less<>>& asked_special() const { return asked_special_; }
  void know_specials(std::function<bool(std::string_view)> known) { specials_ = std::move(known); }

  // --- questions ---
  bool regular(NodeRef node) const { return nodes_[node].facts.regular; }
  bool nullable(NodeRef node);                 // any node; rules by least fixpoint
  ByteSet first(NodeRef node);                 // regular: superset of bytes with a live derivative
  ByteSet same(NodeRef node, uint8_t byte);    // regular: bytes that derive like `byte`
  NodeRef derive(NodeRef node, uint8_t byte);  // regular: the rest after `byte`
  NodeRef derive(NodeRef node, std::string_view text);  // byte after byte
  Beside beside(NodeRef node);                          // regular; see Typed::beside
  bool matches(NodeRef node, std::string_view text);    // regular: the whole text
  Result<bool> live(NodeRef node, Fuel& fuel);          // some string matches; exact
  Digest digest(NodeRef node);  // regular: of its structure; unknown when a leaf has none
  Result<NodeRef> body(NodeRef node, Fuel& fuel);  // of a ref or typed rule, memoised

  // Where typed/ keeps the nodes that it needs often; empty() until they are made.
  enum class Often : uint8_t {
    spelled,
    spelled_minimal,
    number,
    plain_number,
    integer,
    plain_integer,
    space,
    comma,
    colon,
    last
  };
  NodeRef& often(Often what) { return often_[static_cast<size_t>(what)]; }

  // --- structure ---
  const Node& node(NodeRef ref) const { return nodes_[ref]; }
  std::span<const NodeRef> children(NodeRef ref) const;  // of any_of and both
  std::string_view text(NodeRef ref) const;              // of bytes
  const ByteSet& set(NodeRef ref) const { return sets_[nodes_[ref].a]; }
  const Typed& typed_of(NodeRef ref) const { return *typed_[nodes_[ref].a]; }
  std::span<const TokenSet> token_sets() const { return token_sets_; }
  uint32_t rule_count() const { return static_cast<uint32_t>(rules_.size()); }
  NodeRef rule_body(RuleId rule) const { return rules_[rule].body; }
  const std::string& rule_name(RuleId rule) const { return rules_[rule].name; }
  uint32_t size() const { return static_cast<uint32_t>(nodes_.size()); }
  uint64_t memory() const;  // bytes held, about

  // --- faults and budgets ---
  const Limits& limits() const { return limits_; }
  bool ok() const { return fault_.ok(); }
  const Status& fault() const { return fault_; }
  void fail(Status status);  // the first one counts
  Status take_fault();       // and clears it, so that the next step may try again
  // The budget that constructors and derive() draw on, `unit` for each node they touch; null: only
  // the node limits count.
  void set_fuel(Fuel* fuel, uint32_t unit = 1) {
    fuel_ = fuel;
    fuel_unit_ = unit;
  }
  Fuel* fuel() const { return fuel_; }
  uint32_t fuel_unit() const { return fuel_unit_; }
  void seal();                          // from now on nodes count as derived
  bool worn(uint64_t share = 2) const;  // that part of the derived nodes is spent

 private:
  static constexpr uint32_t kUnsealed = UINT32_MAX;
  struct Bare {};
  explicit Store(Bare);          // with empty() and eps() alone
  static const Store& common();  // typed/common.cc
  struct Rule {
    std::string name;
    NodeRef body = 0;
    bool defined = false;
  };

  bool spend(uint64_t units);
  uint32_t new_walk();                      // starts a walk that enters each node once
  bool enter(NodeRef node, uint32_t walk);  // false when this walk has been here
  uint64_t weight() const;                  // nodes, with list items as a fraction of one
  NodeRef intern(const Node& node);
  uint64_t hash_of(const Node& node) const;
  bool equal(const Node& a, const Node& b) const;
  void grow_table();
  NodeRef make(Kind kind, Facts facts, uint32_t a, uint32_t b = 0, uint32_t lo = 0,
               uint32_t hi = 0);
  NodeRef make_list(Kind kind, Facts facts, std::span<const NodeRef> list);
  NodeRef make_bytes(uint32_t offset, uint32_t length);
  NodeRef literal(std::string_view text);
  NodeRef prepend(NodeRef head, NodeRef tail);  // head is no concat
  bool fuse_counts(const Node& inner, uint32_t lo, uint32_t hi, NodeRef& fused);
  bool join(NodeRef head, NodeRef next, NodeRef& joined);
  NodeRef utf8(std::span<const Utf8Sequence> sequences, uint8_t at);
  bool one_byte(NodeRef ref, ByteSet& out) const;
  void merge_sets(std::vector<NodeRef>& choices);
  void merge_repeats(std::vector<NodeRef>& choices);
  struct Term;
  NodeRef merge_chains(NodeRef x, NodeRef y);
  void merge_tails(std::vector<Term>& terms);
  void absorb_eps(std::vector<NodeRef>& choices);
  void flatten(std::vector<NodeRef>& choices);
  bool meet_runs(NodeRef x, NodeRef y, NodeRef& met);
  bool not_empty(NodeRef ref) const {
    return nodes_[ref].kind == Kind::invert && nodes_[ref].a == eps();
  }
  NodeRef intersect(std::vector<NodeRef> parts);
  Beside without_exclusions(NodeRef ref);
  NodeRef derive_here(NodeRef node, uint8_t byte, bool& done);
  NodeRef combine(NodeRef node, uint8_t byte);
  NodeRef best_part(NodeRef ref) const;
  Digest digest_of(NodeRef ref);
  Result<bool> explore(NodeRef root, Fuel& fuel);
  bool surely_live(NodeRef ref) const;
  bool surely_dead(NodeRef ref);
  bool surely_text(NodeRef root);
  bool reads_text(NodeRef ref);
  bool completes(std::string_view text, NodeRef root, Fuel& fuel);
  Status live_equation(NodeRef ref, Fuel& fuel, std::vector<NodeRef>& inputs, bool& any,
                       bool& truth);

  Limits limits_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> walked_;  // the last walk that entered each node
  uint32_t walks_ = 0;
  std::vector<uint32_t> hashes_;  // low half of each node's hash
  std::vector<Digest> digests_;   // of the nodes that were asked for
  std::vector<uint32_t> table_;   // open addressing over nodes_
  std::string text_;
  std::vector<NodeRef> lists_;
  std::vector<ByteSet> sets_;
  std::vector<std::unique_ptr<Typed>> typed_;
  std::vector<TokenSet> token_sets_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> token_set_index_;
  uint64_t token_bytes_ = 0;
  std::function<bool(std::string_view)> specials_;
  std::set<std::string, std::less<>> asked_special_;
  std::vector<Rule> rules_;
  FlatMap derived_;                              // (node, byte) -> rest
  FlatMap bodies_;                               // typed rule -> body
  std::unordered_map<NodeRef, bool> nullables_;  // nodes with rules below
  std::array<std::string, 3> completions_;       // of nodes explored, the latest first
  NodeRef any_char_ = 0;
  std::array<NodeRef, static_cast<size_t>(Often::last)> often_{};
  uint32_t sealed_at_ = kUnsealed;
  uint64_t typed_bytes_ = 0;
  bool asked_ = false;  // some answer depends on the rules' bodies
  Fuel* fuel_ = nullptr;
  uint32_t fuel_unit_ = 1;
  Status fault_;
};

}  // namespace treadle
