#include "grammar/front/schema_index.h"

#include <algorithm>

namespace treadle::schema {
namespace {

struct Uri {
  std::string_view scheme, authority, path, query;  // with their delimiters, but for the path
};

Uri split(std::string_view text) {
  Uri out;
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos && colon > 0 && colon < text.find_first_of("/?#")) {
    out.scheme = text.substr(0, colon + 1);
    text.remove_prefix(colon + 1);
  }
  if (text.starts_with("//")) {
    const size_t end = std::min(text.find_first_of("/?", 2), text.size());
    out.authority = text.substr(0, end);
    text.remove_prefix(end);
  }
  const size_t query = std::min(text.find('?'), text.size());
  out.path = text.substr(0, query);
  out.query = text.substr(query);
  return out;
}

std::string without_dots(std::string_view path) {
  std::vector<std::string_view> parts;
  bool trailing = false;
  const bool rooted = path.starts_with("/");
  while (!path.empty()) {
    if (path[0] == '/') path.remove_prefix(1);
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    path.remove_prefix(end);
    trailing = part == "." || part == "..";
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
  }
  std::string out = rooted ? "/" : "";
  for (size_t i = 0; i < parts.size(); ++i) {
    out += parts[i];
    if (i + 1 < parts.size() || trailing) out += '/';
  }
  return out;
}

std::string join(const Uri& uri, const std::string& path) {
  return std::string(uri.scheme) + std::string(uri.authority) + path;
}

std::string percent_decoded(std::string_view text) {
  const auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// What a node is: a schema (or a list of them), an object of schemas, or data, whose `$id` means
// nothing.
enum class Content : uint8_t { schema, schemas, data };

Content content_of(Content above, Keyword keyword) {
  if (above != Content::schema) return above == Content::schemas ? Content::schema : Content::data;
  switch (keyword) {
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::dependent_schemas:
    case Keyword::dependencies:
    case Keyword::defs:
      return Content::schemas;
    case Keyword::enum_:
    case Keyword::const_:
    case Keyword::annotation:
    case Keyword::unknown:
      return Content::data;
    default:
      return Content::schema;
  }
}

// Whether any member may give a schema a name.
bool names_itself(const Source& source) {
  const auto& nodes = source.doc.nodes;
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    const std::string_view key = source.at(i).key();
    if (!key.starts_with('$') && key != "id") continue;
    switch (keyword_of(key)) {
      case Keyword::id:
      case Keyword::anchor:
      case Keyword::dynamic_anchor:
      case Keyword::recursive_anchor:
        return true;
      default:
        break;
    }
  }
  return false;
}

}  // namespace

std::string resolve_uri(std::string_view base, std::string_view reference) {
  const Uri to = split(reference.substr(0, reference.find('#')));
  const Uri from = split(base);
  const std::string query(to.query);
  if (!to.scheme.empty()) return join(to, without_dots(to.path)) + query;
  Uri out = from;
  if (!to.authority.empty()) {
    out.authority = to.authority;
    return join(out, without_dots(to.path)) + query;
  }
  if (to.path.empty()) {
    return join(out, std::string(from.path)) + (query.empty() ? std::string(from.query) : query);
  }
  if (to.path[0] == '/') return join(out, without_dots(to.path)) + query;
  const size_t slash = from.path.rfind('/');
  std::string path(slash == std::string_view::npos ? "" : from.path.substr(0, slash + 1));
  if (path.empty() && !from.authority.empty()) path = "/";
  return join(out, without_dots(path + std::string(to.path))) + query;
}

Index::Index(const Source& source) : source_(source) {
  const auto& nodes = source.doc.nodes;
  resource_.resize(nodes.size(), 0);
  base_[0] = "";
  by_uri_[""] = 0;
  if (source.resources.empty() && !names_itself(source)) return;
  std::vector<Content> contents(nodes.size(), Content::schema);
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    if (const auto found = source.resources.find(i); found != source.resources.end()) {
      resource_[i] = i;
      base_[i] = found->second;
      by_uri_.emplace(found->second, i);
    } else if (i > 0) {
      resource_[i] = resource_[nodes[i].parent];
      const bool member = nodes[nodes[i].parent].kind == json::Kind::object;
      const Content above = contents[nodes[i].parent];
      contents[i] = member ? content_of(above, keyword_of(source.at(i).key())) : above;
    }
    if (nodes[i].kind == json::Kind::object && contents[i] == Content::schema)
      add_ids(source.at(i));
  }
}

void Index::add_ids(json::Value object) {
  const bool old = source_.dialect == Dialect::draft4 || source_.dialect == Dialect::any;
  const auto text = [&](std::string_view name) {
    const json::Value value = object.get(name);
    return value && value.is_string() ? value.text() : std::string_view();
  };
  std::string_view id = text("$id");
  if (id.empty() && old) id = text("id");
  if (!id.empty() && source_.ref_hides(object)) id = "";
  const auto name = [&](std::string_view anchor) {
    const std::string key = base_[resource_[object.index()]] + "#" + std::string(anchor);
    if (!anchors_.emplace(key, object.index()).second) duplicate_ = anchor;
  };
  if (id.starts_with("#")) {
    name(id.substr(1));
  } else if (!id.empty()) {
    const std::string uri = resolve_uri(base_[resource_[object.index()]], id);
    resource_[object.index()] = object.index();
    base_[object.index()] = uri;
    by_uri_.emplace(uri, object.index());
  }
  if (const auto anchor = text("$anchor"); !anchor.empty()) name(anchor);
  if (const auto anchor = text("$dynamicAnchor"); !anchor.empty()) {
    name(anchor);
    dynamic_[resource_[object.index()]].emplace(anchor, object.index());
  }
  const json::Value recursive = object.get("$recursiveAnchor");
  const bool root = resource_[object.index()] == object.index();
  if (root && recursive && recursive.is_boolean() && recursive.truth()) {
    dynamic_[object.index()].emplace("#", object.index());
  }
}

std::optional<uint32_t> Index::find(json::Value from, std::string_view reference) const {
  const size_t hash = std::min(reference.find('#'), reference.size());
  const std::string fragment =
      hash < reference.size() ? percent_decoded(reference.substr(hash + 1)) : "";
  // Up to draft 7 an `$id` beside `$ref` is hidden with all other siblings, so the base is that of
  // the enclosing resource; add_ids has left it out.
  const uint32_t here = resource_[from.index()];
  uint32_t root = here;
  if (hash > 0) {
    const auto found = by_uri_.find(resolve_uri(base_.at(here), reference));
    if (found == by_uri_.end()) return std::nullopt;
    root = found->second;
  }
  if (fragment.empty()) return root;
  if (fragment[0] != '/') {
    const auto found = anchors_.find(base_.at(root) + "#" + fragment);
    return found == anchors_.end() ? std::nullopt : std::optional(found->second);
  }
  auto target = find_pointer(root, fragment);
  // An `id` that was meant as data must not break the plain pointers of the document.
  if (!target && hash == 0) target = find_pointer(0, fragment);
  return target;
}

std::optional<uint32_t> Index::find_pointer(uint32_t root, std::string_view pointer) const {
  json::Value value = source_.at(root);
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    std::string token;
    for (size_t i = 0; i < end; ++i) {
      if (pointer[i] == '~' && i + 1 < end && (pointer[i + 1] == '0' || pointer[i + 1] == '1')) {
        token += pointer[++i] == '0' ? '~' : '/';
      } else {
        token += pointer[i];
      }
    }
    pointer.remove_prefix(end);
    if (value.is_array()) {
      const bool number = !token.empty() && token.size() < 9 &&
                          token.find_first_not_of("0123456789") == std::string::npos;
      if (!number) return std::nullopt;
      value = value.item(static_cast<size_t>(std::stoul(token)));
    } else {
      value = value.is_object() ? source_.member(value, token) : json::Value();
    }
    if (!value) return std::nullopt;
  }
  return value.index();
}

}  // namespace treadle::schema
