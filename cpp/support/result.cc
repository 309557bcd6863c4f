#include "support/result.h"

namespace treadle {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::ok:
      return "ok";
    case Code::grammar_error:
      return "grammar_error";
    case Code::limit_exceeded:
      return "limit_exceeded";
    case Code::invalid_request:
      return "invalid_request";
  }
  return "ok";
}

std::string_view reason_name(Reason reason) {
  switch (reason) {
    case Reason::none:
      return "";
    case Reason::syntax:
      return "syntax";
    case Reason::unsupported:
      return "unsupported";
    case Reason::unsatisfiable:
      return "unsatisfiable";
    case Reason::stuck:
      return "stuck";
    case Reason::format:
      return "format";
  }
  return "";
}

Status grammar_error(Reason reason, std::string at, std::string text, std::string keyword) {
  Status status;
  status.code = Code::grammar_error;
  status.reason = reason;
  status.at = std::move(at);
  status.text = std::move(text);
  status.keyword = std::move(keyword);
  return status;
}

Status syntax_error(std::string at, std::string text, std::string keyword) {
  return grammar_error(Reason::syntax, std::move(at), std::move(text), std::move(keyword));
}

Status unsupported(std::string at, std::string text, std::string keyword) {
  return grammar_error(Reason::unsupported, std::move(at), std::move(text), std::move(keyword));
}

Status unsatisfiable(std::string at, std::string text, std::string keyword) {
  return grammar_error(Reason::unsatisfiable, std::move(at), std::move(text), std::move(keyword));
}

Status limit_exceeded(std::string_view limit, double value, double maximum, std::string at) {
  Status status;
  status.code = Code::limit_exceeded;
  status.limit = limit;
  status.value = value;
  status.maximum = maximum;
  status.at = std::move(at);
  status.text = status.limit + " exceeded";
  return status;
}

Status invalid_request(std::string at, std::string text) {
  Status status;
  status.code = Code::invalid_request;
  status.at = std::move(at);
  status.text = std::move(text);
  return status;
}

}  // namespace treadle
