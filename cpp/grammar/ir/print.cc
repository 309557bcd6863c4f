#include "grammar/ir/print.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "grammar/ir/charset.h"

namespace treadle {
namespace {

constexpr size_t kMostRanges = 4096;  // of one class

void put_hex(std::string& out, uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789ABCDEF"[value >> shift & 15];
  }
}

void put_char(std::string& out, uint32_t c, std::string_view escaped) {
  if (c < 0x80 && escaped.find(static_cast<char>(c)) != std::string_view::npos) {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n' || c == '\r' || c == '\t') {
    out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
  } else if (c >= 0x20 && c < 0x7F) {
    out += static_cast<char>(c);
  } else {
    out += "\\U";
    put_hex(out, c, 8);
  }
}

// The code points of a node that matches exactly the UTF-8 forms of a set, read off its byte
// sequences. Whether it really is that node is for the caller to check.
class Characters {
 public:
  explicit Characters(const Store& store) : store_(store) {}

  bool read(NodeRef node, CharSet& out) {
    ranges_.clear();
    if (!walk(node, 0, 0)) return false;
    out = CharSet(std::move(ranges_));
    return true;
  }

 private:
  // `left` continuation bytes are missing after the bits `high`; 0 before the first byte. The depth
  // is that of a UTF-8 sequence, twice.
  bool walk(NodeRef node, int left, uint32_t high) {
    const Node& n = store_.node(node);
    if (n.kind == Kind::any_of) {
      for (NodeRef child : store_.children(node)) {
        if (store_.node(child).kind == Kind::any_of || !walk(child, left, high)) return false;
      }
      return true;
    }
    if (n.kind == Kind::concat) return lead(n.a, n.b, left, high);
    return lead(node, store_.eps(), left, high);
  }

  bool lead(NodeRef first, NodeRef rest, int left, uint32_t high) {
    const Node& n = store_.node(first);
    if (n.kind == Kind::bytes) return text(store_.text(first), rest, left, high);
    if (n.kind != Kind::set) return false;
    const ByteSet& set = store_.set(first);
    for (int byte = 0; byte < 256; ++byte) {
      if (!set.contains(static_cast<uint8_t>(byte))) continue;
      int missing = left;
      uint32_t bits = high;
      if (!shift(static_cast<uint8_t>(byte), missing, bits) || !go_on(rest, missing, bits)) {
        return false;
      }
    }
    return true;
  }

  bool text(std::string_view text, NodeRef rest, int left, uint32_t high) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (i > 0 && left == 0) return false;  // a second character
      if (!shift(static_cast<uint8_t>(text[i]), left, high)) return false;
    }
    return go_on(rest, left, high);
  }

  static bool shift(uint8_t byte, int& left, uint32_t& high) {
    if (left > 0) {
      --left;
      high = high << 6 | (byte & 0x3F);
      return byte >> 6 == 2;
    }
    left = byte < 0x80 ? 0 : byte < 0xC0 ? -1 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    high = left == 0 ? byte : byte & (0x3F >> left);
    return left >= 0 && byte < 0xF8;
  }

  bool go_on(NodeRef rest, int left, uint32_t high) {
    if (left > 0) return rest != store_.eps() && walk(rest, left, high);
    if (rest != store_.eps()) return false;
    if (!ranges_.empty() && ranges_.back().hi + 1 == high) {
      ranges_.back().hi = high;
    } else if (ranges_.size() < kMostRanges) {
      ranges_.push_back({high, high});
    } else {
      return false;
    }
    return true;
  }

  const Store& store_;
  std::vector<CharRange> ranges_;
};

// How tightly the context binds: what needs brackets there.
enum class Bind : uint8_t { choice, sequence, item };

class Printer {
 public:
  explicit Printer(Store& store) : store_(store), characters_(store) {}

  Result<std::string> run(NodeRef root) {
    rule("root", root);
    while (!pending_.empty() && status_.ok()) {
      RuleId next = pending_.back();
      pending_.pop_back();
      rule(names_[next], store_.rule_body(next));
    }
    if (!status_.ok()) return status_;
    return std::move(out_);
  }

 private:
  // One thing to write: a node, or the text behind its children.
  struct Task {
    NodeRef node = 0;
    Bind bind = Bind::choice;
    std::string text;
    bool is_text = false;
  };

  void rule(const std::string& name, NodeRef body) {
    out_ += name + " ::= ";
    std::vector<Task> stack;
    stack.push_back({body, Bind::choice, {}, false});
    while (!stack.empty() && status_.ok()) {
      Task task = std::move(stack.back());
      stack.pop_back();
      if (task.is_text) {
        out_ += task.text;
      } else {
        node(task, stack);
      }
      if (out_.size() > store_.limits().source_bytes) {
        status_ = limit_exceeded("source_bytes", static_cast<double>(out_.size()),
                                 static_cast<double>(store_.limits().source_bytes));
      }
    }
    out_ += '\n';
  }

  // Writes nodes with texts between, before and after them, from the first to the last.
  void push(std::vector<Task>& stack, std::string_view before, const std::vector<NodeRef>& nodes,
            std::string_view between, std::string after, Bind bind) {
    stack.push_back({0, bind, std::move(after), true});
    for (size_t i = nodes.size(); i-- > 0;) {
      stack.push_back({nodes[i], bind, {}, false});
      if (i > 0) stack.push_back({0, bind, std::string(between), true});
    }
    out_ += before;
  }

  void node(const Task& task, std::vector<Task>& stack) {
    NodeRef ref = task.node;
    const Node n = store_.node(ref);
    if (ref == store_.eps()) {
      out_ += "\"\"";
      return;
    }
    if (ref == store_.empty()) {
      out_ += "[]";
      return;
    }
    if (const std::string& set = class_of(ref); !set.empty()) {
      out_ += set;
      return;
    }
    switch (n.kind) {
      case Kind::bytes:
        put_bytes(store_.text(ref), task.bind);
        break;
      case Kind::set:
        put_set(store_.set(ref));
        break;
      case Kind::concat: {
        std::vector<NodeRef> parts;
        for (; store_.node(ref).kind == Kind::concat; ref = store_.node(ref).b) {
          parts.push_back(store_.node(ref).a);
        }
        parts.push_back(ref);
        bool open = task.bind == Bind::item;
        push(stack, open ? "(" : "", parts, " ", open ? ")" : "", Bind::sequence);
        break;
      }
      case Kind::any_of: {
        std::span<const NodeRef> all = store_.children(ref);
        bool open = task.bind != Bind::choice;
        push(stack, open ? "(" : "", {all.begin(), all.end()}, " | ", open ? ")" : "",
             Bind::sequence);
        break;
      }
      case Kind::repeat:
        push(stack, "", {n.a}, "", counts(n.lo, n.hi), Bind::item);
        break;
      case Kind::both: {
        std::span<const NodeRef> all = store_.children(ref);
        push(stack, "Both((", {all.begin(), all.end()}, "), (", "))", Bind::choice);
        break;
      }
      case Kind::invert:
        push(stack, "Not(", {n.a}, "", ")", Bind::choice);
        break;
      case Kind::ref:
        out_ += name(n.a);
        break;
      case Kind::token:
        put_tokens(store_.token_sets()[n.a]);
        break;
      default:
        status_ = unsupported("", "a JSON value has no EBNF text; keep the grammar's own source");
    }
  }

  void put_tokens(const TokenSet& set) {
    out_ += set.negated ? "ExcludeToken(" : "Token(";
    const char* between = "";
    for (const uint32_t id : set.ids) {
      out_ += std::exchange(between, ", ") + std::to_string(id);
    }
    for (const std::string& text : set.names) {
      out_ += std::exchange(between, ", ");
      put_bytes(text, Bind::choice);
    }
    out_ += ")";
  }

  // The node as a class of characters; "" if it is none.
  const std::string& class_of(NodeRef ref) {
    auto [entry, fresh] = classes_.try_emplace(ref);
    Kind kind = store_.node(ref).kind;
    bool maybe = kind == Kind::set || kind == Kind::any_of || kind == Kind::concat;
    CharSet set;
    if (fresh && maybe && characters_.read(ref, set) && store_.chars(set) == ref) {
      entry->second = class_text(set);
    }
    return entry->second;
  }

  static std::string counts(uint32_t lo, uint32_t hi) {
    if (hi == kOpen && lo == 0) return "*";
    if (hi == kOpen && lo == 1) return "+";
    if (lo == 0 && hi == 1) return "?";
    std::string out = "{" + std::to_string(lo);
    if (hi != lo) out += "," + (hi == kOpen ? std::string() : std::to_string(hi));
    return out + "}";
  }

  static std::string class_text(const CharSet& set) {
    if (set == CharSet::any()) return ".";
    std::string out = "[";
    for (const CharRange& range : set.ranges()) {
      put_char(out, range.lo, "\\]^-[");
      if (range.hi == range.lo) continue;
      if (range.hi > range.lo + 1) out += '-';
      put_char(out, range.hi, "\\]^-[");
    }
    return out + "]";
  }

  void put_set(const ByteSet& set) {
    out_ += "Bytes(\"";
    bool first = true;
    for (uint32_t lo = 0; lo < 256; ++lo) {
      if (!set.contains(static_cast<uint8_t>(lo))) continue;
      uint32_t hi = lo;
      while (hi < 255 && set.contains(static_cast<uint8_t>(hi + 1))) ++hi;
      if (!first) out_ += ' ';
      first = false;
      put_hex(out_, lo, 2);
      if (hi > lo) out_ += '-';
      if (hi > lo) put_hex(out_, hi, 2);
      lo = hi;
    }
    out_ += "\")";
  }

  // A literal in quotes, with Bytes for what is no whole character.
  void put_bytes(std::string_view text, Bind bind) {
    std::vector<std::string> parts;
    bool quoted = false;
    uint32_t c = 0;
    for (size_t at = 0; at < text.size();) {
      size_t size = read_utf8(text, at, c);
      if (size == 0) {
        parts.emplace_back("Bytes(\"");
        put_hex(parts.back(), static_cast<uint8_t>(text[at]), 2);
        parts.back() += "\")";
        quoted = false;
        ++at;
        continue;
      }
      if (!quoted) parts.emplace_back("\"\"");
      quoted = true;
      parts.back().pop_back();
      put_char(parts.back(), c, "\\\"");
      parts.back() += '"';
      at += size;
    }
    bool open = bind == Bind::item && parts.size() > 1;
    if (open) out_ += '(';
    for (size_t i = 0; i < parts.size(); ++i) out_ += (i > 0 ? " " : "") + parts[i];
    if (open) out_ += ')';
  }

  // A name of EBNF that no other rule has; the first use asks for the rule.
  const std::string& name(RuleId rule) {
    auto known = names_.find(rule);
    if (known != names_.end()) return known->second;
    std::string made;
    for (char c : store_.rule_name(rule)) {
      bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      made += plain || c == '_' || (c == '-' && !made.empty()) ? c : '_';
    }
    if (made.empty() || !taken_.insert(made).second) {
      made += "_" + std::to_string(rule);
      while (!taken_.insert(made).second) made += "_";
    }
    pending_.push_back(rule);
    return names_[rule] = made;
  }

  Store& store_;
  Characters characters_;
  std::string out_;
  Status status_;
  std::unordered_map<NodeRef, std::string> classes_;
  std::unordered_map<RuleId, std::string> names_;
  std::unordered_set<std::string> taken_ = {"root",  "Regex", "Substring",    "TagDispatch",
                                            "Token", "Bytes", "ExcludeToken", "TokenTagDispatch",
                                            "Both",  "Not"};
  std::vector<RuleId> pending_;
};

}  // namespace

Result<std::string> print_ebnf(Store& store, NodeRef root) {
  return Printer(store).run(root);
}

}  // namespace treadle
