#include "grammar/run/serial.h"

#include <array>
#include <charconv>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/front/json_read.h"
#include "support/hash.h"
#include "support/utf8.h"

namespace treadle {

namespace {

constexpr uint32_t kVersion = 2;
constexpr std::string_view kGrammar = "treadle-grammar";
constexpr std::string_view kCompiled = "treadle-compiled";
constexpr std::string_view kHex = "0123456789abcdef";
constexpr size_t kTextFactor = 6;  // bytes of the JSON spelling of one byte, at most

Status damaged(std::string at, std::string text) {
  return grammar_error(Reason::format, std::move(at), std::move(text));
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (char c : bytes) {
    out += kHex[static_cast<uint8_t>(c) >> 4];
    out += kHex[static_cast<uint8_t>(c) & 15];
  }
  return out;
}

bool is_utf8(std::string_view text) {
  uint32_t c = 0;
  for (size_t at = 0; at < text.size();) {
    size_t size = read_utf8(text, at, c);
    if (size == 0) return false;
    at += size;
  }
  return true;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// A member; texts that are no UTF-8 stand as hexadecimal digits under another name.
std::string text_member(std::string_view name, std::string_view text) {
  if (is_utf8(text)) return ", \"" + std::string(name) + "\": " + quoted(text);
  return ", \"" + std::string(name) + "_hex\": \"" + hex(text) + "\"";
}

bool has_options(SourceKind kind) {
  return kind == SourceKind::schema || kind == SourceKind::json || kind == SourceKind::json_object;
}

std::string dump_one(const Source& source, std::span<const size_t> parts) {
  std::string out = "{\"kind\": " + quoted(source_kind_name(source.kind));
  if (!source.text.empty()) out += text_member("text", source.text);
  if (!source.root.empty()) out += text_member("root", source.root);
  if (!source.strings.empty()) {
    out += ", \"strings\": [";
    for (size_t i = 0; i < source.strings.size(); ++i) {
      out += (i > 0 ? ", " : "") + quoted(source.strings[i]);
    }
    out += "]";
  }
  if (has_options(source.kind)) {
    auto flag = [&](const char* name, bool on) {
      out += std::string(", \"") + name + "\": " + (on ? "true" : "false");
    };
    const SchemaOptions& schema = source.schema;
    flag("declared_order", schema.declared_order);
    flag("minimal_escapes", schema.escapes == Escapes::minimal);
    flag("plain_numbers", schema.numbers == Spelling::plain);
    flag("lenient", schema.lenient);
    flag("assert_formats", schema.assert_formats);
    flag("exact_formats", schema.exact_formats);
    flag("closed", schema.closed);
    out += ", \"whitespace\": " + std::to_string(schema.whitespace);
    if (schema.layout) {
      out += text_member("comma", schema.layout->comma);
      out += text_member("colon", schema.layout->colon);
      if (schema.layout->indent) out += ", \"indent\": " + std::to_string(*schema.layout->indent);
    }
    if (!schema.at.empty()) out += text_member("at", schema.at);
    if (!schema.resources.empty()) {
      out += ", \"resources\": [";
      for (size_t i = 0; i < schema.resources.size(); ++i) {
        const auto& [uri, text] = schema.resources[i];
        out += (i > 0 ? ", " : "") + quoted(uri) + ", " + quoted(text);
      }
      out += "]";
    }
  }
  if (!parts.empty()) {
    out += ", \"parts\": [";
    for (size_t i = 0; i < parts.size(); ++i) out += (i ? ", " : "") + std::to_string(parts[i]);
    out += "]";
  }
  return out + "}";
}

// Reads one source; every member is known and of its type, or the place of the first that is not.
class Reader {
 public:
  Reader(json::Value value, std::span<const SourceRef> before) : value_(value), before_(before) {}

  Result<SourceRef> run() {
    if (!value_.is_object()) return damaged(value_.pointer(), "a source is an object");
    auto out = std::make_shared<Source>();
    if (!kind(out->kind)) return bad("kind", "is no kind of grammar");
    for (json::Value member : value_) {
      if (!take(*out, member)) {
        return damaged(member.pointer(),
                       "unexpected here; the text was not written by this version");
      }
    }
    bool joined = out->kind == SourceKind::concat || out->kind == SourceKind::any_of;
    if (!joined && !out->parts.empty()) return bad("parts", "belong to concat and any_of");
    for (const SourceRef& part : out->parts) out->depth = std::max(out->depth, part->depth + 1);
    return SourceRef(std::move(out));
  }

 private:
  Status bad(const char* name, const char* why) const {
    return damaged(value_.pointer() + "/" + name, why);
  }

  bool kind(SourceKind& out) const {
    json::Value name = value_.get("kind");
    if (!name || !name.is_string()) return false;
    for (int i = 0; i <= static_cast<int>(SourceKind::any_of); ++i) {
      out = static_cast<SourceKind>(i);
      if (source_kind_name(out) == name.text()) return true;
    }
    return false;
  }

  static bool bytes(json::Value member, std::string_view name, std::string& out) {
    if (!member.is_string()) return false;
    if (member.key() == name) {
      out = member.text();
      return true;
    }
    std::string_view digits = member.text();
    if (digits.size() % 2 != 0) return false;
    for (size_t i = 0; i < digits.size(); i += 2) {
      size_t high = kHex.find(digits[i]);
      size_t low = kHex.find(digits[i + 1]);
      if (high == std::string_view::npos || low == std::string_view::npos) return false;
      out += static_cast<char>(high * 16 + low);
    }
    return true;
  }

  static bool number(json::Value value, uint32_t& out) {
    if (!value.is_number()) return false;
    std::string_view text = value.text();
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size();
  }

  static bool texts(json::Value list, std::vector<std::string>& out) {
    if (!list.is_array()) return false;
    for (json::Value text : list) {
      if (!text.is_string()) return false;
      out.emplace_back(text.text());
    }
    return true;
  }

  static bool resources(json::Value list, std::vector<std::pair<std::string, std::string>>& out) {
    std::vector<std::string> both;  // URI, schema, URI, ...
    if (!texts(list, both) || both.size() % 2 != 0) return false;
    for (size_t i = 0; i < both.size(); i += 2) {
      out.emplace_back(std::move(both[i]), std::move(both[i + 1]));
    }
    return true;
  }

  static Layout& layout(SchemaOptions& schema) {
    // The first member of one begins it; separators of json.dumps are no default here.
    if (!schema.layout) schema.layout = Layout{"", "", std::nullopt};
    return *schema.layout;
  }

  bool take(Source& out, json::Value member) {
    std::string_view key = member.key();
    SchemaOptions& schema = out.schema;
    if (key == "kind") return true;
    if (key == "text" || key == "text_hex") return bytes(member, "text", out.text);
    if (key == "root" || key == "root_hex") return bytes(member, "root", out.root);
    if (key == "strings") return texts(member, out.strings);
    if (key == "parts") {
      if (!member.is_array()) return false;
      for (json::Value part : member) {
        uint32_t index = 0;
        if (!number(part, index) || index >= before_.size()) return false;
        out.parts.push_back(before_[index]);
      }
      return true;
    }
    if (!has_options(out.kind)) return false;
    if (key == "whitespace") return number(member, schema.whitespace);
    if (key == "at" || key == "at_hex") return bytes(member, "at", schema.at);
    if (key == "comma" || key == "comma_hex") return bytes(member, "comma", layout(schema).comma);
    if (key == "colon" || key == "colon_hex") return bytes(member, "colon", layout(schema).colon);
    if (key == "indent") return number(member, layout(schema).indent.emplace());
    if (key == "resources") return resources(member, schema.resources);
    if (!member.is_boolean()) return false;
    bool on = member.truth();
    if (key == "declared_order") return schema.declared_order = on, true;
    if (key == "lenient") return schema.lenient = on, true;
    if (key == "assert_formats") return schema.assert_formats = on, true;
    if (key == "exact_formats") return schema.exact_formats = on, true;
    if (key == "closed") return schema.closed = on, true;
    if (key == "minimal_escapes") {
      schema.escapes = on ? Escapes::minimal : Escapes::any;
      return true;
    }
    schema.numbers = on ? Spelling::plain : Spelling::any;
    return key == "plain_numbers";
  }

  json::Value value_;
  std::span<const SourceRef> before_;
};

std::string checksum(std::string_view vocabulary, std::string_view grammar) {
  uint64_t low = hash_bytes(grammar, hash_bytes(vocabulary, 1));
  uint64_t high = hash_bytes(grammar, hash_bytes(vocabulary, 2));
  std::string bytes;
  for (uint64_t word : {high, low}) {
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(word >> shift & 255);
  }
  return hex(bytes);
}

}  // namespace

std::string dump_grammar(const Source& source) {
  std::unordered_map<const Source*, size_t> index;
  std::vector<std::pair<const Source*, size_t>> stack{{&source, 0}};
  std::string out = "{\"format\": \"" + std::string(kGrammar) +
                    "\", \"version\": " + std::to_string(kVersion) + ", \"sources\": [";
  while (!stack.empty()) {  // postorder
    auto& [at, next] = stack.back();
    if (next < at->parts.size()) {
      const Source* part = at->parts[next++].get();
      if (!index.contains(part)) stack.push_back({part, 0});
      continue;
    }
    std::vector<size_t> parts;
    for (const SourceRef& part : at->parts) parts.push_back(index[part.get()]);
    out += (index.empty() ? "" : ", ") + dump_one(*at, parts);
    size_t number = index.size();
    index.emplace(at, number);
    stack.pop_back();
  }
  return out + "]}";
}

Result<SourceRef> load_grammar(std::string_view text, const Limits& limits) {
  json::ReadLimits read{.bytes = kTextFactor * limits.source_bytes, .depth = limits.source_depth};
  Result<json::Document> document = json::read(text, read);
  if (!document.ok()) {
    Status status = document.status();
    if (status.code == Code::grammar_error) status.reason = Reason::format;
    return status;
  }
  json::Value root = document->root();
  json::Value format = root.is_object() ? root.get("format") : json::Value();
  if (!format || !format.is_string() || format.text() != kGrammar) {
    return damaged("/format", "not a stored grammar; give what dumps() returned");
  }
  json::Value version = root.get("version");
  if (!version || !version.is_number() || version.text() != std::to_string(kVersion)) {
    return damaged("/version", "written by another version; store the grammar again");
  }
  json::Value sources = root.get("sources");
  if (!sources || !sources.is_array() || sources.size() == 0 || root.size() != 3) {
    return damaged("/sources", "expected the sources of the grammar and nothing else");
  }
  std::vector<SourceRef> read_so_far;
  for (json::Value value : sources) {
    Result<SourceRef> one = Reader(value, read_so_far).run();
    if (!one.ok()) return one.status();
    if ((*one)->depth > limits.source_depth) {
      return limit_exceeded("source_depth", static_cast<double>((*one)->depth),
                            static_cast<double>(limits.source_depth));
    }
    read_so_far.push_back(*one);
  }
  return read_so_far.back();
}

std::string dump_block(const Source& source, std::string_view vocabulary) {
  std::string grammar = dump_grammar(source);
  return std::string(kCompiled) + " " + std::to_string(kVersion) + " " + std::string(vocabulary) +
         " " + checksum(vocabulary, grammar) + "\n" + grammar;
}

Result<SourceRef> load_block(std::string_view block, std::string_view vocabulary,
                             const Limits& limits) {
  size_t end = block.find('\n');
  std::string_view line = block.substr(0, end);
  std::array<std::string_view, 4> words;
  size_t count = 0;
  while (count < 4 && !line.empty()) {
    size_t space = std::min(line.find(' '), line.size());
    words[count++] = line.substr(0, space);
    line.remove_prefix(std::min(space + 1, line.size()));
  }
  if (end == std::string_view::npos || count != 4 || !line.empty() || words[0] != kCompiled) {
    return damaged("1:1", "not a stored compiled grammar; give what dumps() returned");
  }
  if (words[1] != std::to_string(kVersion)) {
    return damaged("1:1", "written by another version; compile and store the grammar again");
  }
  if (words[2] != vocabulary) {
    return damaged("1:1", "stored for another vocabulary; compile the grammar for this one");
  }
  std::string_view grammar = block.substr(end + 1);
  if (words[3] != checksum(vocabulary, grammar)) {
    return damaged("1:1", "damaged: the checksum differs; compile and store the grammar again");
  }
  return load_grammar(grammar, limits);
}

}  // namespace treadle
