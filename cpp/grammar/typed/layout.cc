#include "grammar/typed/layout.h"

#include <algorithm>
#include <string_view>

#include "grammar/ir/store.h"
#include "grammar/typed/members.h"

namespace treadle {
namespace {

// A new line and the blanks before what stands `levels` deep.
NodeRef new_line(Store& store, uint64_t indent, uint64_t levels) {
  const auto blanks = static_cast<uint32_t>(std::min<uint64_t>(indent * levels, kOpen - 1));
  return store.cat(store.bytes("\n"), store.repeat(store.bytes(" "), blanks, blanks));
}

Status check_separator(const std::string& text, char mark, uint64_t most, const char* at) {
  const auto blanks = std::count_if(text.begin(), text.end(), [](char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
  });
  const bool marked = std::count(text.begin(), text.end(), mark) == 1;
  if (marked && text.size() == static_cast<size_t>(blanks) + 1) {
    if (static_cast<uint64_t>(blanks) <= most) return ok_status();
    return limit_exceeded("whitespace", static_cast<double>(blanks), static_cast<double>(most), at);
  }
  return invalid_request(at, std::string("a separator is one '") + mark +
                                 "' among JSON whitespace, as those of json.dumps");
}

}  // namespace

Spacing spacing_of(Store& store, uint32_t whitespace, const std::optional<Layout>& layout,
                   uint32_t depth) {
  Spacing out;
  if (!layout) {
    using enum Store::Often;
    out.open = out.close = store.eps();
    const bool usual = whitespace == kUsualSpace;
    if (usual && store.often(colon) != store.empty()) {
      out.any = store.often(space);
      out.comma = store.often(comma);
      out.colon = store.often(colon);
      return out;
    }
    out.any = json_space(store, whitespace);
    out.comma = store.cat(store.bytes(","), out.any);
    const NodeRef parts[] = {out.any, store.bytes(":"), out.any};
    out.colon = store.concat(parts);
    if (usual && store.ok()) {
      store.often(space) = out.any;
      store.often(comma) = out.comma;
      store.often(colon) = out.colon;
    }
    return out;
  }
  out.any = out.open = out.close = store.eps();
  out.comma = store.bytes(layout->comma);
  out.colon = store.bytes(layout->colon);
  if (!layout->indent) return out;
  out.open = new_line(store, *layout->indent, uint64_t{depth} + 1);
  out.comma = store.cat(out.comma, out.open);
  out.close = new_line(store, *layout->indent, depth);
  return out;
}

NodeRef end_or_item(Store& store, const Spacing& spacing, bool first, NodeRef end, NodeRef item) {
  if (first) return store.cat(spacing.any, store.alt(end, store.cat(spacing.open, item)));
  const NodeRef next = store.cat(spacing.comma, item);
  return store.cat(spacing.any, store.alt(store.cat(spacing.close, end), next));
}

Status check_layout(const Layout& layout, uint64_t most) {
  Status status = check_separator(layout.comma, ',', most, "separators");
  if (status.ok()) status = check_separator(layout.colon, ':', most, "separators");
  if (!status.ok() || !layout.indent || *layout.indent <= most) return status;
  return limit_exceeded("whitespace", static_cast<double>(*layout.indent),
                        static_cast<double>(most), "indent");
}

}  // namespace treadle
