// Lookaround as intersection.
//
// A lookahead says something of all the text that follows it, so `(?=B)R` is R & B.*, where R must
// reach to the end of the text: the pass carries the continuation R along. Alternatives share one
// R, so nothing is copied. Lookbehind is the mirror image and carries what precedes. The two meet
// only where that stays exact: P(X & Y) = PX & PY needs a prefix P of at most the empty text.
#include <algorithm>
#include <vector>

#include "grammar/front/regex_parse.h"

namespace treadle::regex {
namespace {

class Resolver {
 public:
  Resolver(Ast& ast, Fuel& fuel) : ast_(ast), fuel_(fuel) {}

  // The texts of `node` followed (behind: preceded) by those of `around`, which extends to the
  // end (the beginning) of the whole text. UINT32_MAX after an error.
  Id run(Id node, Id around, bool behind) {
    Id result = around;
    tasks_.push_back({node, around, kNew, {}});
    while (!tasks_.empty()) {
      if (!fuel_.spend()) {
        status_ = fuel_.status();
        return UINT32_MAX;
      }
      if (!step(behind, result)) return UINT32_MAX;
    }
    return result;
  }

  Id conjoin(const Node& look, Id with, Id body) {
    return ast_.add({.kind = look.negative ? Kind::minus : Kind::both,
                     .a = with,
                     .b = body,
                     .offset = look.offset});
  }

  Id pair(Id first, Id second) {
    if (ast_.at(first).kind == Kind::eps) return second;
    if (ast_.at(second).kind == Kind::eps) return first;
    Id both[] = {first, second};
    return ast_.list(Kind::concat, both, ast_.at(first).offset);
  }

  [[nodiscard]] const Status& status() const { return status_; }

 private:
  static constexpr uint32_t kNew = UINT32_MAX;

  struct Task {
    Id node;
    Id around;
    uint32_t done;          // children finished, kNew before the first look at the node
    std::vector<Id> parts;  // their results
  };

  [[nodiscard]] bool relevant(Id id, bool behind) const {
    const Node& n = ast_.at(id);
    return behind ? n.has_behind : n.has_ahead;
  }

  Id attach(Id node, Id around, bool behind) {
    return behind ? pair(around, node) : pair(node, around);
  }

  // `result` is the value of the task that finished last; finishing a task means storing there.
  bool step(bool behind, Id& result) {
    Task& task = tasks_.back();
    Node node = ast_.at(task.node);
    if (task.done == kNew && !relevant(task.node, behind)) {
      result = attach(task.node, task.around, behind);
      tasks_.pop_back();
      return true;
    }
    switch (node.kind) {
      case Kind::concat:
        return step_concat(node, behind, result);
      case Kind::any_of:
        return step_any_of(node, result);
      case Kind::look:
        return step_look(node, behind, result);
      case Kind::both:
      case Kind::minus:
        return step_both(node, result);
      default:
        return refuse(node, "lookaround under a quantifier; write the repetitions out");
    }
  }

  bool refuse(const Node& node, const char* text) {
    status_ = unsupported("offset " + std::to_string(node.offset), text);
    return false;
  }

  // Children next to each other without lookaround go in one piece: a long pattern stays flat.
  bool step_concat(const Node& node, bool behind, Id& result) {
    Task& task = tasks_.back();
    auto total = static_cast<uint32_t>(ast_.children(node).size());
    if (task.done == kNew) {
      task.done = 0;
    } else {
      task.around = result;
    }
    auto child = [&](uint32_t i) { return ast_.children(node)[behind ? i : total - 1 - i]; };
    std::vector<Id> run;
    while (task.done < total && !relevant(child(task.done), behind)) {
      run.push_back(child(task.done++));
    }
    if (!run.empty()) {
      if (!behind) std::reverse(run.begin(), run.end());
      task.around =
          attach(ast_.list(Kind::concat, run, ast_.at(run[0]).offset), task.around, behind);
    }
    if (task.done == total) {
      result = task.around;
      tasks_.pop_back();
      return true;
    }
    Task next = {child(task.done++), task.around, kNew, {}};
    tasks_.push_back(std::move(next));
    return true;
  }

  bool step_any_of(const Node& node, Id& result) {
    Task& task = tasks_.back();
    if (task.done == kNew) {
      task.done = 0;
    } else {
      task.parts.push_back(result);
    }
    if (task.done == ast_.children(node).size()) {
      result = ast_.list(Kind::any_of, std::vector<Id>(task.parts), node.offset);
      tasks_.pop_back();
      return true;
    }
    Task next = {ast_.children(node)[task.done++], task.around, kNew, {}};
    tasks_.push_back(std::move(next));
    return true;
  }

  // First the body, followed (preceded) by any text; then the intersection with what is around.
  bool step_look(const Node& node, bool behind, Id& result) {
    Task& task = tasks_.back();
    if (task.done == kNew) {
      task.done = 0;
      Task next = {node.a, ast_.any_text(), kNew, {}};
      tasks_.push_back(std::move(next));
      return true;
    }
    if (node.behind != behind) return refuse(node, "lookaround of both kinds nested; split it");
    result = conjoin(node, task.around, result);
    tasks_.pop_back();
    return true;
  }

  // Only lookahead has made these nodes, so this is a lookbehind after a lookahead.
  bool step_both(const Node& node, Id& result) {
    Task& task = tasks_.back();
    if (!at_most_empty(task.around)) {
      return refuse(node, "a lookbehind after a lookahead within the text; reorder them");
    }
    if (task.done == kNew) {
      task.done = 0;
    } else {
      task.parts.push_back(result);
    }
    if (task.done < 2) {
      Task next = {task.done++ == 0 ? node.a : node.b, task.around, kNew, {}};
      tasks_.push_back(std::move(next));
      return true;
    }
    Node made = node;
    made.a = task.parts[0];
    made.b = task.parts[1];
    result = ast_.add(made);
    tasks_.pop_back();
    return true;
  }

  [[nodiscard]] bool at_most_empty(Id id) const {
    auto zero_width = [&](Id i) {
      Kind kind = ast_.at(i).kind;
      return kind == Kind::eps || kind == Kind::begin || kind == Kind::end || kind == Kind::border;
    };
    const Node& n = ast_.at(id);
    if (n.kind != Kind::concat) return zero_width(id);
    std::span<const Id> parts = ast_.children(n);
    return std::all_of(parts.begin(), parts.end(), zero_width);
  }

  Ast& ast_;
  Fuel& fuel_;
  Status status_;
  std::vector<Task> tasks_;
};

bool is_text_anchor(const Node& n, Kind kind) {
  return n.kind == kind && n.a == 0;
}

// The parts of a top-level concat, or the pattern itself.
std::vector<Id> spine(const Ast& ast, Id root) {
  const Node& n = ast.at(root);
  if (n.kind != Kind::concat) return {root};
  std::span<const Id> children = ast.children(n);
  return {children.begin(), children.end()};
}

}  // namespace

Result<Id> resolve_looks(Ast& ast, Id root, bool search, Fuel& fuel) {
  std::vector<Id> parts = spine(ast, root);
  bool from_begin = !search || is_text_anchor(ast.at(parts.front()), Kind::begin);
  bool to_end = !search || is_text_anchor(ast.at(parts.back()), Kind::end);
  Id text = ast.any_text();
  Id eps = ast.eps(0);
  Resolver resolver(ast, fuel);

  // A lookbehind at the very end of the text speaks of the whole text: set it aside, so that it
  // may go together with lookaheads.
  std::vector<Id> endings;
  size_t last = parts.size();
  while (to_end && last > 0 && is_text_anchor(ast.at(parts[last - 1]), Kind::end)) --last;
  while (to_end && last > 0) {
    const Node& n = ast.at(parts[last - 1]);
    if (n.kind != Kind::look || !n.behind) break;
    endings.push_back(parts[--last]);
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(last));
  }
  root = ast.list(Kind::concat, parts, 0);

  if (ast.at(root).has_ahead) {
    root = resolver.run(root, to_end ? eps : text, false);
  } else if (!to_end) {
    root = resolver.pair(root, text);
  }
  if (root != UINT32_MAX) {
    if (ast.at(root).has_behind) {
      root = resolver.run(root, from_begin ? eps : text, true);
    } else if (!from_begin) {
      root = resolver.pair(text, root);
    }
  }
  for (size_t i = 0; i < endings.size() && root != UINT32_MAX; ++i) {
    Node look = ast.at(endings[i]);
    Id body = resolver.run(look.a, text, true);
    if (body != UINT32_MAX) root = resolver.conjoin(look, root, body);
  }
  if (!resolver.status().ok()) return resolver.status();
  return root;
}

}  // namespace treadle::regex
