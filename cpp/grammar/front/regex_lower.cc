// Pattern trees to IR nodes.
//
// What an anchor means depends on its surroundings, so a part with anchors below has not one
// language but one for every pair (what precedes it, what follows it). A surrounding is either the
// text's edge or a class of characters: one class when only ^ and $ occur, words and the rest when
// \b does, line ends too under the flag m. Concatenation joins them: for a text uv, what follows u
// is the first character of v, and what precedes v is the last one of u. Every other pass over the
// tree is plain, and parts without anchors have a single language.
#include <algorithm>
#include <utility>
#include <vector>

#include "grammar/front/choice.h"
#include "grammar/front/fuel_scope.h"
#include "grammar/front/regex_lex.h"
#include "grammar/front/regex_parse.h"

namespace treadle::regex {
namespace {

// Languages by surroundings: entry [before * sides + after]; side 0 is the text's edge.
using Table = std::vector<NodeRef>;

class Lowering {
 public:
  Lowering(Store& store, const Parsed& parsed, Fuel& fuel)
      : store_(store), parsed_(parsed), ast_(parsed.ast), fuel_(fuel) {
    CharSet words = parsed.borders ? word_set(parsed.ignore_case) : CharSet();
    CharSet lines = parsed.line_anchors ? line_end_set() : CharSet();
    if (parsed.borders) classes_.push_back(words);
    if (parsed.line_anchors) classes_.push_back(lines);
    classes_.push_back(CharSet::any().subtract(words).subtract(lines));
    sides_ = static_cast<uint32_t>(classes_.size() + 1);
  }

  Result<NodeRef> run(Id root) {
    plain_.resize(root + 1, 0);
    index_.resize(root + 1, 0);
    sets_.resize(ast_.set_count(), kUnset);
    std::vector<bool> used = reachable(root);
    for (Id id = 0; id <= root; ++id) {
      if (!used[id]) continue;
      const Node& node = ast_.at(id);
      if (node.has_anchor) {
        index_[id] = static_cast<uint32_t>(tables_.size());
        tables_.push_back(table_of(node));
        fuel_.spend(kEntryCost * sides_ * sides_);
      } else {
        plain_[id] = language_of(node);
      }
      if (!fuel_.spend()) return fuel_.status();
      if (!status_.ok()) return status_;
      if (!store_.ok()) return store_.fault();
    }
    return at(id_table(root), 0, 0);
  }

 private:
  static constexpr NodeRef kUnset = UINT32_MAX;
  static constexpr uint64_t kEntryCost = 16;  // fuel units of one entry of a table
  static constexpr uint64_t kSeamCost = 200;  // and of one of a joined table

  [[nodiscard]] std::vector<bool> reachable(Id root) const {
    std::vector<bool> used(root + 1, false);
    used[root] = true;
    for (Id id = root + 1; id-- > 0;) {
      if (!used[id]) continue;
      const Node& n = ast_.at(id);
      if (n.kind == Kind::concat || n.kind == Kind::any_of) {
        for (Id child : ast_.children(n)) used[child] = true;
      } else if (n.kind == Kind::repeat) {
        used[n.a] = true;
      } else if (n.kind == Kind::both || n.kind == Kind::minus) {
        used[n.a] = used[n.b] = true;
      }
    }
    return used;
  }

  // --- parts without anchors ---

  NodeRef language_of(const Node& n) {
    switch (n.kind) {
      case Kind::eps:
        return store_.eps();
      case Kind::text:
        return store_.any_text();
      case Kind::literal:
        return store_.bytes(ast_.text(n));
      case Kind::chars:
        if (sets_[n.a] == kUnset) sets_[n.a] = store_.chars(ast_.set(n.a));
        return sets_[n.a];
      case Kind::concat: {
        std::vector<NodeRef> parts;
        for (Id child : ast_.children(n)) parts.push_back(plain_[child]);
        return store_.concat(parts);
      }
      case Kind::any_of:
        return plain_union(n);
      case Kind::repeat:
        return store_.repeat(plain_[n.a], n.lo, n.hi);
      case Kind::both:
        return store_.both(plain_[n.a], plain_[n.b]);
      case Kind::minus:
        return store_.both(plain_[n.a], store_.complement(plain_[n.b]));
      default:
        return store_.empty();
    }
  }

  // Literal alternatives go through a trie: a keyword list then derives in time of its depth.
  NodeRef plain_union(const Node& n) {
    std::vector<NodeRef> choices;
    std::vector<std::string_view> words;
    for (Id child : ast_.children(n)) {
      const Node& c = ast_.at(child);
      if (c.kind == Kind::literal) {
        words.push_back(ast_.text(c));
      } else {
        choices.push_back(plain_[child]);
      }
    }
    if (!words.empty()) choices.push_back(literal_trie(store_, words));
    return store_.any_of(choices);
  }

  // --- parts with anchors ---

  [[nodiscard]] NodeRef at(const Table& t, uint32_t before, uint32_t after) const {
    return t[before * sides_ + after];
  }

  Table id_table(Id id) const {
    if (ast_.at(id).has_anchor) return tables_[index_[id]];
    return Table(sides_ * sides_, plain_[id]);
  }

  template <class F>
  Table each(F&& language) {
    Table t(sides_ * sides_);
    for (uint32_t l = 0; l < sides_; ++l) {
      for (uint32_t r = 0; r < sides_; ++r) t[l * sides_ + r] = language(l, r);
    }
    return t;
  }

  [[nodiscard]] bool is_word(uint32_t side) const { return parsed_.borders && side == 1; }
  [[nodiscard]] bool is_line_end(uint32_t side) const {
    return parsed_.line_anchors && side == (parsed_.borders ? 2u : 1u);
  }

  Table table_of(const Node& n) {
    auto when = [&](bool holds) { return holds ? store_.eps() : store_.empty(); };
    switch (n.kind) {
      case Kind::begin:
        return each(
            [&](uint32_t l, uint32_t) { return when(l == 0 || (n.a != 0 && is_line_end(l))); });
      case Kind::end:
        return each(
            [&](uint32_t, uint32_t r) { return when(r == 0 || (n.a != 0 && is_line_end(r))); });
      case Kind::border:
        return each(
            [&](uint32_t l, uint32_t r) { return when((is_word(l) != is_word(r)) != (n.a != 0)); });
      case Kind::concat:
        return concat_table(n);
      case Kind::any_of:
        return union_table(n);
      case Kind::repeat:
        return repeat_table(n);
      default:
        break;
    }
    Table a = id_table(n.a);
    Table b = id_table(n.b);
    return each([&](uint32_t l, uint32_t r) {
      NodeRef other = at(b, l, r);
      return store_.both(at(a, l, r), n.kind == Kind::both ? other : store_.complement(other));
    });
  }

  Table union_table(const Node& n) {
    std::vector<NodeRef> plain;
    std::vector<Id> anchored;
    for (Id child : ast_.children(n)) {
      if (ast_.at(child).has_anchor) {
        anchored.push_back(child);
      } else {
        plain.push_back(plain_[child]);
      }
    }
    NodeRef rest = store_.any_of(plain);
    return each([&](uint32_t l, uint32_t r) {
      std::vector<NodeRef> choices = {rest};
      for (Id child : anchored) choices.push_back(at(tables_[index_[child]], l, r));
      return store_.any_of(choices);
    });
  }

  Table concat_table(const Node& n) {
    Table rest;
    std::span<const Id> children = ast_.children(n);
    for (size_t i = children.size(); i > 0;) {
      Table part;
      if (ast_.at(children[i - 1]).has_anchor) {
        part = id_table(children[--i]);
      } else {
        size_t end = i;
        while (i > 0 && !ast_.at(children[i - 1]).has_anchor) --i;
        std::vector<NodeRef> run;
        for (size_t k = i; k < end; ++k) run.push_back(plain_[children[k]]);
        part = Table(sides_ * sides_, store_.concat(run));
      }
      rest = rest.empty() ? part
                          : each([&](uint32_t l, uint32_t r) { return joined(part, rest, l, r); });
      if (!fuel_.spend(kSeamCost * sides_ * sides_)) status_ = fuel_.status();
      if (!status_.ok() || !store_.ok()) return Table(sides_ * sides_, store_.empty());
    }
    return rest;
  }

  NodeRef solid(NodeRef node) {  // without the empty text
    return store_.nullable(node) ? store_.both(node, store_.complement(store_.eps())) : node;
  }

  NodeRef some_of(const std::vector<uint32_t>& group) {
    CharSet set;
    for (uint32_t side : group) set = set.unite(classes_[side - 1]);
    return store_.chars(set);
  }

  NodeRef ending_in(NodeRef node, const std::vector<uint32_t>& group) {
    if (group.size() == classes_.size() || node == store_.empty()) return node;
    return store_.both(node, store_.cat(store_.any_text(), some_of(group)));
  }

  NodeRef beginning_in(NodeRef node, const std::vector<uint32_t>& group) {
    if (group.size() == classes_.size() || node == store_.empty()) return node;
    return store_.both(node, store_.cat(some_of(group), store_.any_text()));
  }

  // The character classes, grouped by the language they lead to.
  template <class F>
  std::vector<std::pair<NodeRef, std::vector<uint32_t>>> groups(F&& language) {
    std::vector<std::pair<NodeRef, std::vector<uint32_t>>> out;
    for (uint32_t side = 1; side < sides_; ++side) {
      NodeRef node = language(side);
      auto same = [&](const auto& entry) { return entry.first == node; };
      auto known = std::find_if(out.begin(), out.end(), same);
      if (known == out.end()) known = out.insert(out.end(), {node, {}});
      known->second.push_back(side);
    }
    return out;
  }

  // All uv between l and r, split by whether u and v are empty and by the characters at the seam.
  NodeRef joined(const Table& a, const Table& b, uint32_t l, uint32_t r) {
    auto left = groups([&](uint32_t y) { return at(a, l, y); });
    auto right = groups([&](uint32_t x) { return at(b, x, r); });
    bool loose = left.size() == 1 && left[0].first == at(a, l, r) && right.size() == 1 &&
                 right[0].first == at(b, l, r);
    if (loose) return store_.cat(at(a, l, r), at(b, l, r));

    std::vector<NodeRef> parts;
    std::vector<uint32_t> skip_a;  // first characters of v before which u may be empty
    std::vector<uint32_t> skip_b;  // last characters of u after which v may be empty
    for (const auto& [u, firsts] : left) {
      if (store_.nullable(u)) skip_a.insert(skip_a.end(), firsts.begin(), firsts.end());
      for (const auto& [v, lasts] : right) {
        parts.push_back(store_.cat(ending_in(solid(u), lasts), beginning_in(solid(v), firsts)));
      }
    }
    for (const auto& [v, lasts] : right) {
      if (store_.nullable(v)) skip_b.insert(skip_b.end(), lasts.begin(), lasts.end());
    }
    NodeRef u = at(a, l, r);
    NodeRef v = at(b, l, r);
    bool both_empty = store_.nullable(u) && store_.nullable(v);
    if (!skip_a.empty()) parts.push_back(beginning_in(solid(v), skip_a));
    if (!skip_b.empty()) parts.push_back(ending_in(solid(u), skip_b));
    if (both_empty) parts.push_back(store_.eps());
    return store_.any_of(parts);
  }

  // Inside a repetition the surroundings of one turn are its neighbours. With a single class of
  // characters a turn is first, inner, last or only; with more, turns would have to be matched up.
  Table repeat_table(const Node& n) {
    Table turn = tables_[index_[n.a]];
    bool uniform = true;
    for (uint32_t l = 0; l < sides_; ++l) {
      for (uint32_t s = 2; s < sides_; ++s) {
        uniform &= at(turn, l, s) == at(turn, l, 1) && at(turn, s, l) == at(turn, 1, l);
      }
    }
    if (!uniform) {
      status_ = unsupported("offset " + std::to_string(n.offset),
                            "\\b or a line anchor under a quantifier; write the repetitions out");
    }
    return each([&](uint32_t l, uint32_t r) { return repeated(n, turn, l, r); });
  }

  NodeRef repeated(const Node& n, const Table& turn, uint32_t l, uint32_t r) {
    NodeRef only = at(turn, l, r);
    NodeRef first = at(turn, l, 1);
    NodeRef inner = at(turn, 1, 1);
    NodeRef last = at(turn, 1, r);
    // A turn that may be empty next to the others makes up any missing number of turns.
    bool pads = store_.nullable(first) || store_.nullable(last);
    std::vector<NodeRef> parts;
    if (n.lo == 0 || store_.nullable(only)) parts.push_back(store_.eps());
    if (n.lo <= 1 || pads) parts.push_back(solid(only));
    if (n.hi >= 2) {
      uint32_t lo = pads || store_.nullable(inner) ? 2 : std::max(n.lo, 2u);
      uint32_t hi = n.hi == kOpen ? kOpen : n.hi - 2;
      NodeRef middle = store_.repeat(solid(inner), lo - 2, hi);
      NodeRef chain[] = {solid(first), middle, solid(last)};
      parts.push_back(store_.concat(chain));
    }
    return store_.any_of(parts);
  }

  Store& store_;
  const Parsed& parsed_;
  const Ast& ast_;
  Fuel& fuel_;
  Status status_;
  std::vector<CharSet> classes_;  // side i + 1 is class i
  uint32_t sides_ = 0;
  std::vector<NodeRef> plain_;
  std::vector<uint32_t> index_;  // of an anchored node's table
  std::vector<Table> tables_;
  std::vector<NodeRef> sets_;
};

}  // namespace

Result<NodeRef> lower(Store& store, const Parsed& parsed, Id root, Fuel& fuel) {
  return Lowering(store, parsed, fuel).run(root);
}

}  // namespace treadle::regex

namespace treadle {

Result<NodeRef> parse_regex(Store& store, std::string_view pattern, const RegexOptions& options,
                            const Limits& limits) {
  FuelScope scope(store, limits);
  Result<regex::Parsed> parsed = regex::parse(pattern, options, limits, scope.fuel());
  if (!parsed.ok()) return parsed.status();
  Result<regex::Id> root =
      regex::resolve_looks(parsed->ast, parsed->root, options.search, scope.fuel());
  if (!root.ok()) return root.status();
  Result<NodeRef> node = regex::lower(store, *parsed, *root, scope.fuel());
  if (!node.ok()) return node;
  return scope.close(*node);
}

}  // namespace treadle
