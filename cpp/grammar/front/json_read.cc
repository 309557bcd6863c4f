#include "grammar/front/json_read.h"

#include <algorithm>
#include <utility>

#include "grammar/ir/charset.h"
#include "support/chars.h"
#include "support/json_escape.h"

namespace treadle::json {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// ASCII that stands for itself in a string.
bool is_plain(char c) {
  return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x80 &&
         c != '"' && c != '\\';
}

constexpr size_t kBytesANode = 16;  // of a usual schema
constexpr size_t kFirstNodes = 4'096;

class Reader {
 public:
  Reader(std::string_view source, const ReadLimits& limits) : source_(source), limits_(limits) {}

  Result<Document> run() {
    if (source_.size() > limits_.bytes) {
      return limit_exceeded("source_bytes", static_cast<double>(source_.size()),
                            static_cast<double>(limits_.bytes));
    }
    doc_.text.reserve(source_.size());
    doc_.nodes.reserve(std::min(source_.size() / kBytesANode + 1, kFirstNodes));
    if (source_.substr(0, 3) == "\xEF\xBB\xBF") at_ = 3;  // a byte order mark is not content
    if (!read_tree()) return failure_;
    skip_space();
    if (at_ < source_.size()) {
      fail("unexpected text after the JSON value");
      return failure_;
    }
    return std::move(doc_);
  }

 private:
  // Alternates between "a value starts here" and "a value just ended" until the root is complete.
  bool read_tree() {
    do {
      bool opened = false;
      if (!read_value(opened)) return false;
      while (!opened && !open_.empty()) {
        bool more = false;
        if (!after_value(more)) return false;
        if (more) break;
      }
    } while (!open_.empty());
    return true;
  }

  bool read_value(bool& opened) {
    skip_space();
    if (at_ >= source_.size()) return fail("the text ends where a value was expected");
    const char c = source_[at_];
    if (c == '{' || c == '[') return open_container(c == '{', opened);
    if (c == '"') {
      const uint32_t index = add(Kind::string);
      uint32_t start = 0, size = 0;
      if (!read_string(start, size)) return false;
      doc_.nodes[index].text = start;
      doc_.nodes[index].text_size = size;
      return true;
    }
    if (c == '-' || is_digit(c)) return read_number();
    if (word("true")) return add_truth(true);
    if (word("false")) return add_truth(false);
    if (word("null")) {
      add(Kind::null);
      return true;
    }
    return fail("expected a JSON value");
  }

  bool open_container(bool object, bool& opened) {
    if (open_.size() >= limits_.depth) {
      failure_ = limit_exceeded("source_depth", static_cast<double>(open_.size() + 1),
                                static_cast<double>(limits_.depth));
      failure_.at = place();
      return false;
    }
    ++at_;
    open_.push_back(add(object ? Kind::object : Kind::array));
    last_.push_back(kNone);
    skip_space();
    if (at_ < source_.size() && source_[at_] == (object ? '}' : ']')) {
      ++at_;
      open_.pop_back();
      last_.pop_back();
      return true;
    }
    opened = true;
    return !object || read_key();
  }

  // Reads "," (then `more`) or the closing bracket of the innermost container.
  bool after_value(bool& more) {
    const bool object = doc_.nodes[open_.back()].kind == Kind::object;
    skip_space();
    const char c = at_ < source_.size() ? source_[at_] : '\0';
    if (c == ',') {
      ++at_;
      more = true;
      return !object || read_key();
    }
    if (c != (object ? '}' : ']')) {
      return fail(object ? "expected ',' or '}'" : "expected ',' or ']'");
    }
    if (object && !keys_differ(open_.back())) return false;
    ++at_;
    open_.pop_back();
    last_.pop_back();
    return true;
  }

  bool read_key() {
    skip_space();
    if (at_ >= source_.size() || source_[at_] != '"') return fail("expected a member name");
    if (!read_string(key_, key_size_)) return false;
    skip_space();
    if (at_ >= source_.size() || source_[at_] != ':') return fail("expected ':'");
    ++at_;
    return true;
  }

  bool keys_differ(uint32_t object) {
    if (doc_.nodes[object].count < 2) return true;
    keys_.clear();
    for (uint32_t i = doc_.nodes[object].first; i != kNone; i = doc_.nodes[i].next) {
      const Node& node = doc_.nodes[i];
      keys_.push_back(std::string_view(doc_.text).substr(node.key, node.key_size));
    }
    // By length first, which tells most keys apart without looking at them.
    std::sort(keys_.begin(), keys_.end(), [](std::string_view a, std::string_view b) {
      return a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    const auto twice = std::adjacent_find(keys_.begin(), keys_.end());
    if (twice == keys_.end()) return true;
    return fail("the object names the key \"" + std::string(*twice) + "\" twice");
  }

  uint32_t add(Kind kind) {
    const auto index = static_cast<uint32_t>(doc_.nodes.size());
    Node node;
    node.kind = kind;
    if (!open_.empty()) {
      Node& parent = doc_.nodes[open_.back()];
      node.parent = open_.back();
      if (parent.kind == Kind::object) {
        node.key = key_;
        node.key_size = key_size_;
      }
      ++parent.count;
      if (last_.back() == kNone) {
        parent.first = index;
      } else {
        doc_.nodes[last_.back()].next = index;
      }
      last_.back() = index;
    }
    doc_.nodes.push_back(node);
    return index;
  }

  bool add_truth(bool truth) {
    doc_.nodes[add(Kind::boolean)].truth = truth;
    return true;
  }

  bool read_number() {
    const size_t start = at_;
    if (source_[at_] == '-') ++at_;
    const size_t whole = at_;
    if (!digits()) return fail("a number needs a digit");
    if (source_[whole] == '0' && at_ - whole > 1) return fail("a number has a leading zero");
    if (at_ < source_.size() && source_[at_] == '.') {
      ++at_;
      if (!digits()) return fail("a number needs a digit after the point");
    }
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      ++at_;
      if (at_ < source_.size() && (source_[at_] == '+' || source_[at_] == '-')) ++at_;
      if (!digits()) return fail("a number needs a digit in its exponent");
    }
    Node& node = doc_.nodes[add(Kind::number)];
    node.text = static_cast<uint32_t>(doc_.text.size());
    node.text_size = static_cast<uint32_t>(at_ - start);
    doc_.text.append(source_.substr(start, at_ - start));
    return true;
  }

  bool digits() {
    const size_t start = at_;
    while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
    return at_ > start;
  }

  // Decodes the string at at_ into doc_.text.
  bool read_string(uint32_t& start, uint32_t& size) {
    start = static_cast<uint32_t>(doc_.text.size());
    ++at_;
    while (true) {
      if (at_ >= source_.size()) return fail("a string is not closed");
      const auto c = static_cast<unsigned char>(source_[at_]);
      if (c == '"') break;
      if (c < 0x20) return fail("a control character in a string must be escaped");
      if (c == '\\') {
        if (!read_escape()) return false;
        continue;
      }
      if (c < 0x80) {
        const size_t from = at_;
        while (at_ < source_.size() && is_plain(source_[at_])) ++at_;
        doc_.text.append(source_, from, at_ - from);
        continue;
      }
      uint32_t code = 0;
      const size_t length = read_utf8(source_, at_, code);
      if (length == 0) return fail("the text is not valid UTF-8");
      doc_.text.append(source_, at_, length);
      at_ += length;
    }
    ++at_;
    size = static_cast<uint32_t>(doc_.text.size()) - start;
    return true;
  }

  bool read_escape() {
    ++at_;
    const char c = at_ < source_.size() ? source_[at_] : '\0';
    const size_t found = json_escape::kNames.find(c);
    if (c != '\0' && found != std::string_view::npos) {
      doc_.text.push_back(json_escape::kValues[found]);
      ++at_;
      return true;
    }
    if (c != 'u') return fail("unknown escape in a string");
    uint32_t code = 0;
    if (!read_hex(code)) return false;
    if (code >= 0xD800 && code < 0xDC00 && source_.substr(at_, 2) == "\\u") {
      uint32_t low = 0;
      ++at_;
      if (!read_hex(low)) return false;
      if (low < 0xDC00 || low > 0xDFFF) return fail("a surrogate escape stands alone");
      code = json_escape::join(code, low);
    }
    if (is_surrogate(code)) return fail("a surrogate escape stands alone");
    append_utf8(doc_.text, code);
    return true;
  }

  // Reads "uXXXX" at at_.
  bool read_hex(uint32_t& code) {
    ++at_;
    code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < source_.size() ? source_[at_] : '\0';
      const int value = hex_value(static_cast<uint8_t>(c));
      if (value < 0) return fail("a \\u escape needs four hexadecimal digits");
      code = code * 16 + static_cast<uint32_t>(value);
    }
    return true;
  }

  bool word(std::string_view text) {
    if (source_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  void skip_space() {
    while (at_ < source_.size()) {
      const char c = source_[at_];
      if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
      ++at_;
    }
  }

  std::string place() const {
    const std::string_view before = source_.substr(0, at_);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t newline = before.rfind('\n');
    const size_t column = newline == std::string_view::npos ? at_ + 1 : at_ - newline;
    return std::to_string(line) + ":" + std::to_string(column);
  }

  bool fail(std::string text) {
    const std::string pointer = open_.empty() ? "" : Value(&doc_, open_.back()).pointer();
    if (!pointer.empty()) text += " (inside " + pointer + ")";
    failure_ = syntax_error(place(), std::move(text));
    return false;
  }

  std::string_view source_;
  ReadLimits limits_;
  size_t at_ = 0;
  Document doc_;
  std::vector<uint32_t> open_;          // containers being read, outermost first
  std::vector<uint32_t> last_;          // the latest child of each
  std::vector<std::string_view> keys_;  // scratch of keys_differ
  uint32_t key_ = 0, key_size_ = 0;
  Status failure_;
};

}  // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return "boolean";
    case Kind::number:
      return "number";
    case Kind::string:
      return "string";
    case Kind::array:
      return "array";
    case Kind::object:
      return "object";
  }
  return "value";
}

Value Document::root() const {
  return {this, 0};
}
Value Document::at(uint32_t index) const {
  return {this, index};
}

std::string_view Value::text() const {
  return std::string_view(doc_->text).substr(node().text, node().text_size);
}

std::string_view Value::key() const {
  return std::string_view(doc_->text).substr(node().key, node().key_size);
}

Value Value::parent() const {
  return node().parent == kNone ? Value() : Value(doc_, node().parent);
}

Value Value::first() const {
  return node().first == kNone ? Value() : Value(doc_, node().first);
}

Value Value::next() const {
  return node().next == kNone ? Value() : Value(doc_, node().next);
}

Value Value::get(std::string_view name) const {
  if (!is_object()) return {};
  for (const Value member : *this) {
    if (member.key() == name) return member;
  }
  return {};
}

Value Value::item(size_t position) const {
  if (!is_array()) return {};
  for (const Value value : *this) {
    if (position-- == 0) return value;
  }
  return {};
}

std::string Value::pointer() const {
  std::vector<std::string> tokens;
  for (Value value = *this; value.parent(); value = value.parent()) {
    const Value parent = value.parent();
    if (parent.is_object()) {
      tokens.push_back(pointer_token(value.key()));
      continue;
    }
    size_t position = 0;
    for (uint32_t i = parent.node().first; i != value.index_; i = doc_->nodes[i].next) ++position;
    tokens.push_back(std::to_string(position));
  }
  std::string out;
  for (size_t i = tokens.size(); i-- > 0;) out += "/" + tokens[i];
  return out;
}

std::string pointer_token(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

Result<Document> read(std::string_view source, const ReadLimits& limits) {
  return Reader(source, limits).run();
}

}  // namespace treadle::json
