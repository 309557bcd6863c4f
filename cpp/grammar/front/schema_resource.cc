#include "grammar/front/schema_resource.h"

#include <string>
#include <utility>
#include <vector>

#include "grammar/front/schema_index.h"

namespace treadle::schema {
namespace {

void append(json::Document& doc, const json::Document& more) {
  const auto nodes = static_cast<uint32_t>(doc.nodes.size());
  const auto text = static_cast<uint32_t>(doc.text.size());
  const auto shift = [&](uint32_t& index) { index += index == json::kNone ? 0 : nodes; };
  for (json::Node node : more.nodes) {
    shift(node.parent);
    shift(node.next);
    shift(node.first);
    node.text += text;
    node.key += text;
    doc.nodes.push_back(node);
  }
  doc.text += more.text;
}

bool refers(Keyword keyword) {
  return keyword == Keyword::ref || keyword == Keyword::dynamic_ref ||
         keyword == Keyword::recursive_ref;
}

class Loader {
 public:
  Loader(Source& source, const Limits& limits) : source_(source), limits_(limits) {
    for (const auto& [uri, text] : source.options.resources) {
      unread_.emplace(resolve_uri("", uri), &text);
    }
  }

  Status run() {
    uint32_t looked = 0;  // nodes whose references are known to be there
    while (looked < source_.doc.size() && !unread_.empty()) {
      const Index index(source_);
      std::vector<std::string> wanted;
      for (; looked < source_.doc.size(); ++looked) {
        const json::Value node = source_.at(looked);
        if (!node.parent() || !node.is_string() || !refers(keyword_of(node.key()))) continue;
        if (node.text().starts_with('#')) continue;
        std::string uri = index.target(node, node.text());
        if (!index.has_uri(uri)) wanted.push_back(std::move(uri));
      }
      for (const std::string& uri : wanted) {
        if (Status status = load(uri); !status.ok()) return status;
      }
    }
    return ok_status();
  }

 private:
  Status load(const std::string& uri) {
    const auto found = unread_.find(uri);
    if (found == unread_.end()) return ok_status();  // the reference itself will be refused
    const std::string& text = *found->second;
    unread_.erase(found);
    read_ += text.size();
    if (read_ > limits_.source_bytes) {
      return limit_exceeded("source_bytes", static_cast<double>(read_),
                            static_cast<double>(limits_.source_bytes), uri);
    }
    const Result<json::Document> document = json::read(
        text,
        {static_cast<size_t>(limits_.source_bytes), static_cast<size_t>(limits_.source_depth)});
    if (!document) {
      Status status = document.status();
      status.at = uri + " " + status.at;
      return status;
    }
    if (const json::Value named = document->root().get("$schema"); named && named.is_string()) {
      bool known = false;
      const Dialect dialect = dialect_of(named.text(), known);
      if (known && dialect != source_.dialect && source_.dialect != Dialect::any) {
        return unsupported(uri, "this resource is written in another dialect than the schema",
                           "$schema");
      }
    }
    source_.resources.emplace(source_.doc.size(), uri);
    append(source_.doc, *document);
    return ok_status();
  }

  Source& source_;
  const Limits& limits_;
  std::map<std::string, const std::string*> unread_;
  uint64_t read_ = 0;
};

}  // namespace

Status add_resources(Source& source, const Limits& limits) {
  return source.options.resources.empty() ? ok_status() : Loader(source, limits).run();
}

std::string Source::pointer(json::Value value) const {
  const json::Value node = at(original(value.index()));
  if (resources.empty()) return options.at + node.pointer();
  json::Value root = node;
  while (root.parent()) root = root.parent();
  const auto found = resources.find(root.index());
  return (found == resources.end() ? options.at : found->second + "#") + node.pointer();
}

}  // namespace treadle::schema
