// Fields of a format: read, checked, and refused with the pointer of the place.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/front/json_read.h"
#include "grammar/front/tag_format.h"
#include "support/result.h"

namespace treadle::tag {

using json::Value;

// Every reader returns false after a failure, of which the first is kept. An absent field leaves
// its target alone unless the reader says that it is needed.
class Fields {
 public:
  bool fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
    return false;
  }
  bool wrong(const Value& v, const char* wanted);
  bool missing(const Value& object, std::string_view field);
  bool refuse(const Value& v, std::string_view field, const char* why);

  // Nothing but these fields and `type`.
  bool only(const Value& object, std::initializer_list<std::string_view> fields);
  bool text(const Value& object, std::string_view field, std::string& out);  // needed
  bool flag(const Value& object, std::string_view field, bool& out);
  bool integer(const Value& v, uint32_t& out);  // 0 to 2^31 - 1
  // A whole number; null counts as absent.
  bool bound(const Value& object, std::string_view field, uint32_t& out);
  // A list of non-empty strings.
  bool strings(const Value& object, std::string_view field, std::vector<std::string>& out);
  bool token(const Value& v, Token& out);  // an id or a non-empty text
  bool tokens(const Value& object, std::string_view field, std::vector<Token>& out);
  // A text, or {"type": "token", "token": ...}.
  bool mark(const Value& v, Mark& out);

  const Status& status() const { return status_; }

 private:
  Status status_;
};

// The same tokens as a set.
void add_token(TokenSet& set, const Token& token);

}  // namespace treadle::tag
