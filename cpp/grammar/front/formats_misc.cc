// Identifiers and pointers, and the lookup over all formats.
#include <algorithm>
#include <array>

#include "grammar/front/formats.h"
#include "grammar/front/regex.h"
#include "grammar/typed/clock.h"

namespace treadle::schema {
namespace {

constexpr std::string_view kPointer = "(?:/(?:[^~/]|~[01])*)*";

constexpr std::array<std::string_view, 16> kExact = {
    "date",
    "date-time",
    "duration",
    "email",
    "ip-address",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
};
constexpr std::array<std::string_view, 5> kSubset = {"host-name", "hostname", "idn-email",
                                                     "idn-hostname", "regex"};
constexpr std::array<std::string_view, 11> kAnnotations = {
    "int32",    "int64", "float", "double",       "byte",   "binary",
    "password", "color", "phone", "utc-millisec", "number",
};

template <class List>
bool has(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// A pattern of ECMA-262 without look-around and back references, groups nested once.
std::string regex_pattern() {
  const std::string escape =
      "\\\\(?:[dDwWsSbBfnrtv0^$\\\\.*+?()\\[\\]{}|/-]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})";
  const std::string range = "0-[1-9]|1-9|a-[b-z]|A-[B-Z]|A-z";
  const std::string set = "\\[\\^?(?:" + range + "|[^\\\\\\]\\[-]|" + escape + ")*-?\\]";
  const std::string atom = "(?:[^\\\\^$.*+?()\\[\\]{}|]|\\.|" + escape + "|" + set + ")";
  const std::string count =
      "(?:(?:[*+?]|\\{(?:\\d{1,3},?|[01],[1-9]|\\d,[1-9]\\d|\\d{1,2},[1-9]\\d\\d)\\})[?]?)?";
  const std::string line = "\\^?(?:" + atom + count + ")*\\$?";
  const std::string group = "\\((?:\\?:)?" + line + "(?:\\|" + line + ")*\\)";
  const std::string outer = "\\^?(?:(?:" + atom + "|" + group + ")" + count + ")*\\$?";
  return outer + "(?:\\|" + outer + ")*";
}

// Labels of at most 63 characters. Hyphens in third and fourth place mark A-labels, whose Punycode
// is not regular: those are left out. `pattern`: one label, `most`: bytes of the whole name.
Result<NodeRef> host_name(Store& store, const std::string& pattern, uint32_t most,
                          const Limits& limits) {
  const Result<NodeRef> any = parse_regex(store, pattern, RegexOptions{}, limits);
  if (!any) return any.status();
  const NodeRef byte = store.any_byte();
  const NodeRef marked =
      store.cat(store.repeat(byte, 2, 2), store.cat(store.bytes("--"), store.star(byte)));
  const NodeRef label = store.both(*any, store.complement(marked));
  const NodeRef more = store.star(store.cat(store.bytes("."), label));
  return store.both(store.cat(label, more), store.repeat(byte, 1, most));
}

}  // namespace

std::string misc_pattern(std::string_view name) {
  if (name == "uuid") {
    return "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}";
  }
  if (name == "json-pointer") return std::string(kPointer);
  if (name == "relative-json-pointer") {
    return "(?:0|[1-9]\\d*)(?:#|" + std::string(kPointer) + ")";
  }
  return name == "regex" ? regex_pattern() : "";
}

FormatKind format_kind(std::string_view name) {
  if (has(kExact, name)) return FormatKind::exact;
  if (has(kSubset, name)) return FormatKind::subset;
  return has(kAnnotations, name) ? FormatKind::annotation : FormatKind::unknown;
}

Result<NodeRef> format_text(Store& store, std::string_view name, const Limits& limits) {
  if (name == "hostname" || name == "host-name") {
    return host_name(store, "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", 253, limits);
  }
  if (name == "idn-hostname") {
    // "é" is 2 bytes here and 7 octets as an A-label; no label grows more.
    return host_name(store, net_pattern(name), 253 / 4, limits);
  }
  for (const auto table : {time_pattern, net_pattern, misc_pattern}) {
    const std::string pattern = table(name);
    if (pattern.empty()) continue;
    const Result<NodeRef> text = parse_regex(store, pattern, RegexOptions{}, limits);
    if (!text || (name != "time" && name != "date-time")) return text;
    NodeRef leap = leap_second(store);
    if (name == "date-time") {
      const Result<NodeRef> day =
          parse_regex(store, time_pattern("date") + "[Tt]", RegexOptions{}, limits);
      if (!day) return day.status();
      leap = store.cat(*day, leap);
    }
    return store.alt(*text, leap);
  }
  return unsupported("", "this format cannot be enforced; drop it", "format");
}

}  // namespace treadle::schema
