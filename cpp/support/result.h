// Errors as values. The core neither throws nor aborts on bad input: a call returns a Status, or a
// Result<T> that holds either the value or the Status. A Status always names the place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace treadle {

// The snake-case names are those of treadle.errors (a test compares them).
enum class Code : uint8_t { ok, grammar_error, limit_exceeded, invalid_request };

enum class Reason : uint8_t { none, syntax, unsupported, unsatisfiable, stuck, format };

std::string_view code_name(Code code);
std::string_view reason_name(Reason reason);

struct [[nodiscard]] Status {
  Code code = Code::ok;
  Reason reason = Reason::none;
  std::string at;       // JSON pointer or line:column
  std::string keyword;  // the offending schema keyword, when there is one
  std::string text;     // what is wrong and what to do
  std::string limit;    // limit_exceeded: the field of Limits
  double value = 0;     // limit_exceeded: what was met
  double maximum = 0;   // limit_exceeded: what is allowed

  bool ok() const { return code == Code::ok; }
};

inline Status ok_status() {
  return Status{};
}

Status grammar_error(Reason reason, std::string at, std::string text, std::string keyword = {});
Status syntax_error(std::string at, std::string text, std::string keyword = {});
Status unsupported(std::string at, std::string text, std::string keyword = {});
Status unsatisfiable(std::string at, std::string text, std::string keyword = {});
Status limit_exceeded(std::string_view limit, double value, double maximum, std::string at = {});
Status invalid_request(std::string at, std::string text);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit on purpose

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T take() { return std::move(*value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace treadle
