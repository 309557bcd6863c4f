#include "grammar/front/rule_options.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "grammar/front/cursor.h"
#include "grammar/front/regex.h"
#include "grammar/front/special.h"
#include "grammar/typed/region.h"
#include "support/hash.h"

namespace treadle {

namespace {

constexpr uint32_t kMostTokens = 1'000'000;
constexpr uint32_t kMostChars = 0x7FFFFFFF;

bool is_capture_name(std::string_view name) {
  for (char c : name) {
    if (!is_letter(c) && !is_digit(c) && c != '_' && c != '-' && c != '.') return false;
  }
  return !name.empty();
}

bool read_count(std::string_view text, uint32_t least, uint32_t most, uint32_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= least && out <= most;
}

// Digits with at most one point: no locale, no exponent.
bool read_temperature(std::string_view text, float& out) {
  double value = 0;
  double unit = 0;
  for (char c : text) {
    if (c == '.' && unit == 0) {
      unit = 1;
    } else if (is_digit(c)) {
      if (unit > 0) unit /= 10;
      value = unit > 0 ? value + unit * (c - '0') : value * 10 + (c - '0');
    } else {
      return false;
    }
  }
  out = static_cast<float>(value);
  return !text.empty() && is_digit(text[0]) && value <= 100;
}

}  // namespace

Result<RuleOptions> read_rule_options(std::string_view spelled, std::string_view rule,
                                      const std::string& at) {
  RuleOptions out;
  Status status;
  std::string seen = ",";
  each_rule_option(spelled, [&](std::string_view name, std::string_view value) {
    if (!status.ok()) return;
    std::string key = "," + std::string(name) + ",";
    if (seen.find(key) != std::string::npos) {
      status = syntax_error(at, "rule option " + std::string(name) + " stands twice; keep one");
      return;
    }
    seen += std::string(name) + ",";
    bool quoted = value.size() >= 2 && value.front() == '"' && value.back() == '"';
    bool good = false;
    if (name == "max_tokens") {
      good = read_count(value, 1, kMostTokens, out.max_tokens);
    } else if (name == "max_chars") {
      good = read_count(value, 0, kMostChars, out.max_chars);
    } else if (name == "temperature") {
      good = read_temperature(value, out.temperature);
    } else if (name == "lazy") {
      good = value.empty() || value == "true";
      out.lazy = good;
    } else if (name == "capture") {
      out.capture = value.empty() ? rule : quoted ? value.substr(1, value.size() - 2) : value;
      good = is_capture_name(out.capture);
    } else if (name == "suffix") {
      out.suffix = value;
      good = !value.empty() && value != "\"\"";
    } else if (name == "stop_capture") {
      out.stop_capture = quoted ? value.substr(1, value.size() - 2) : value;
      good = is_capture_name(out.stop_capture);
    } else if (name == "stop") {
      status = unsupported(at,
                           "rule option stop takes back what was written, which no mask can; "
                           "use suffix, which stays in the text and out of the capture");
      return;
    } else if (!is_rule_option(name)) {
      status = syntax_error(at, "there is no rule option " + std::string(name) +
                                    "; see the list of options in the documentation");
      return;
    } else {
      status = unsupported(at, "rule option " + std::string(name) + " is not supported; remove it");
      return;
    }
    if (good) return;
    status = syntax_error(
        at, "rule option " + std::string(name) +
                " has no such value; max_tokens takes 1 to 1000000, max_chars 0 to 2147483647, "
                "temperature 0 to 100, capture and stop_capture a name of letters, digits, _ - "
                "and ., suffix a text that is not empty");
  });
  if (!status.ok()) return status;
  if (!out.stop_capture.empty() && out.suffix.empty()) {
    return syntax_error(at, "rule option stop_capture names the text of a suffix; add suffix");
  }
  return out;
}

Status read_suffix(Store& store, RuleOptions& options, const std::string& at, const Limits& limits,
                   const std::function<std::optional<NodeRef>(const std::string&)>& terminal) {
  const std::string& spelled = options.suffix;
  if (spelled.empty()) return ok_status();
  if (read_quoted(spelled, options.ending_text) && !options.ending_text.empty()) {
    options.ending = store.bytes(options.ending_text);
    return ok_status();
  }
  if (terminal && spelled.starts_with('/')) {
    const size_t end = spelled.rfind('/');
    RegexOptions base;
    base.terminal = true;
    Result<RegexOptions> flags = regex_flags(spelled.substr(end + 1), base);
    if (!flags.ok()) return flags.status();
    Result<NodeRef> made = parse_regex(store, spelled.substr(1, end - 1), *flags, limits);
    if (made.ok()) options.ending = *made;
    if (made.ok()) return ok_status();
    Status status = made.status();
    status.at = at + (status.at.empty() ? "" : " " + status.at);
    return status;
  }
  if (terminal) {
    if (const std::optional<NodeRef> named = terminal(spelled)) {
      options.ending = *named;
      return ok_status();
    }
  }
  return syntax_error(at, std::string("rule option suffix takes a text in quotes") +
                              (terminal ? ", a /regex/ or a terminal" : "") + "; " + spelled +
                              " is none");
}

NodeRef shaped(Store& store, NodeRef body, const RuleOptions& options, std::string_view name,
               RuleMarks* marks) {
  if (options.lazy) body = shortest(store, body);
  body = within_chars(store, body, options.max_chars);
  bool wanted = options.max_tokens != kOpen || options.temperature >= 0;
  if (wanted && marks != nullptr) marks->regions = true;
  if (!wanted || (marks != nullptr && marks->keep)) return body;
  return region_node(store, body, {hash_bytes(name), options.max_tokens, options.temperature});
}

void OptionRules::add(RuleId rule, RuleOptions options, std::string at, NodeRef tail) {
  entries_[rule] = {std::move(options), std::move(at), tail, false, false};
  order_.push_back(rule);
}

// `body` up to where it and its suffix first end. For captures the two are told apart: b·s is such
// a text exactly if no b'·s with a shorter b' begins it, be it within b (b = b'·s·…) or across its
// end (b = b'·u, for a beginning u of s that s begins again behind).
NodeRef OptionRules::ended(Store& store, NodeRef body, const RuleOptions& options,
                           RuleMarks* marks) {
  const NodeRef ending = options.ending;
  const bool told = !options.capture.empty() || !options.stop_capture.empty();
  if (!told || marks == nullptr || !marks->keep) return shortest(store, store.cat(body, ending));
  const std::string_view text = options.ending_text;
  std::vector<NodeRef> longer{store.cat(ending, store.anything())};
  for (size_t n = 1; n < text.size(); ++n) {
    if (text.substr(n) == text.substr(0, text.size() - n)) {
      longer.push_back(store.bytes(text.substr(0, n)));
    }
  }
  body = store.both(body, store.complement(store.cat(body, store.any_of(longer))));
  const auto named = [&](NodeRef node, const std::string& capture) {
    if (capture.empty()) return node;
    const RuleId rule = store.declare(capture);
    store.define(rule, node);
    marks->names[rule] = capture;
    return store.ref(rule);
  };
  body = named(body, options.capture);
  return store.cat(body, named(ending, options.stop_capture));
}

// The same language without rules. Postorder with a stack of our own.
Result<OptionRules::Flat> OptionRules::flatten(Store& store, NodeRef root, const RuleMarks* marks,
                                               const std::string& at, Fuel& fuel) {
  std::unordered_map<NodeRef, NodeRef> flat;
  std::unordered_map<NodeRef, bool> open;
  std::vector<NodeRef> work{root};
  while (!work.empty()) {
    NodeRef top = work.back();
    if (!fuel.spend()) return fuel.status();
    const Node node = store.node(top);
    if (flat.contains(top)) {
      work.pop_back();
      continue;
    }
    if (node.facts.regular) {
      flat[top] = top;
      continue;
    }
    std::vector<NodeRef> parts;
    switch (node.kind) {
      case Kind::concat:
        parts = {node.a, node.b};
        break;
      case Kind::any_of: {
        std::span<const NodeRef> children = store.children(top);
        parts.assign(children.begin(), children.end());
        break;
      }
      case Kind::repeat:
        parts = {node.a};
        break;
      case Kind::ref: {
        auto entry = entries_.find(node.a);
        bool pending = entry != entries_.end() && !entry->second.done;
        if (pending) return Flat{0, node.a, false};
        if (marks != nullptr && marks->names.contains(node.a)) return Flat{0, kOpen, true};
        parts = {store.rule_body(node.a)};
        break;
      }
      default:
        return unsupported(at,
                           "max_tokens, max_chars, lazy and temperature need a rule without "
                           "JSON values and tokens; set them on the text around those");
    }
    bool ready = true;
    for (NodeRef part : parts) {
      if (flat.contains(part)) continue;
      if (!open[top]) {
        work.push_back(part);
      } else {  // it was pushed, and has not been made since: it holds itself
        return unsupported(at,
                           "max_tokens, max_chars, lazy and temperature need a rule without "
                           "recursion; bound a part of it instead");
      }
      ready = false;
    }
    open[top] = true;
    if (!ready) continue;
    for (NodeRef& part : parts) part = flat[part];
    NodeRef made = parts[0];
    if (node.kind == Kind::concat) made = store.concat(parts);
    if (node.kind == Kind::any_of) made = store.any_of(parts);
    if (node.kind == Kind::repeat) made = store.repeat(parts[0], node.lo, node.hi);
    if (!store.ok()) return store.fault();
    flat[top] = made;
  }
  return Flat{flat[root], kOpen, false};
}

Status OptionRules::apply(Store& store, RuleMarks* marks, Fuel& fuel) {
  for (RuleId rule : order_) {
    const Entry& entry = entries_[rule];
    const RuleOptions& options = entry.options;
    if (options.capture.empty() && options.stop_capture.empty()) continue;
    if (!options.suffix.empty() && options.ending_text.empty()) {
      return unsupported(entry.at, "a capture beside suffix takes a suffix in quotes");
    }
    if (marks == nullptr) continue;
    marks->captures = true;
    if (marks->keep && options.suffix.empty()) marks->names[rule] = options.capture;
  }
  std::vector<RuleId> work(order_.rbegin(), order_.rend());
  while (!work.empty()) {
    RuleId rule = work.back();
    Entry& entry = entries_[rule];
    if (entry.done) {
      work.pop_back();
      continue;
    }
    NodeRef body = store.rule_body(rule);
    if (entry.options.shapes()) {
      entry.open = true;
      Result<Flat> flat = flatten(store, body, marks, entry.at, fuel);
      if (!flat.ok()) return flat.status();
      if (flat->wanted != kOpen) {
        if (entries_[flat->wanted].open) {
          return unsupported(entry.at, "a rule with options holds itself; bound a part of it");
        }
        work.push_back(flat->wanted);
        continue;
      }
      RuleOptions options = entry.options;
      if (!flat->captured) body = flat->node;
      if (options.ending != store.empty()) {
        if (!flat->captured) body = within_chars(store, body, options.max_chars);
        options.max_chars = kOpen;
        body =
            flat->captured ? store.cat(body, options.ending) : ended(store, body, options, marks);
      }
      if (!flat->captured && store.regular(body)) {
        std::string name = store.rule_name(rule) + " " + entry.at + " " + std::to_string(rule);
        body = shaped(store, body, options, name, marks);
      }
    }
    store.define(rule, store.cat(body, entry.tail));
    if (!store.ok()) return store.fault();
    entry.done = true;
    entry.open = false;
    work.pop_back();
  }
  return ok_status();
}

}  // namespace treadle
