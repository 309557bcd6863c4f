#include "grammar/front/lark_param.h"

#include <bit>
#include <string>

namespace treadle::lark {
namespace {

constexpr size_t kDeepest = 32;  // nested conditions

uint64_t mask_of(const ParamStep& step) {
  unsigned width = step.hi - step.lo;
  return width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
}

uint64_t bits_of(const ParamStep& step, uint64_t p) {
  return step.lo >= 64 ? 0 : (p >> step.lo) & mask_of(step);
}

class Reader {
 public:
  Reader(Lexer& lexer, Token& token, ParamCode& code) : lexer_(lexer), token_(token), code_(code) {}

  bool value() {
    ParamStep step;
    if (token_.kind == Tok::number && !token_.negative) {
      step.op = ParamOp::constant;
      step.value = token_.number;
      code_.push_back(step);
      return lexer_.next(token_);
    }
    std::string name = token_.text;
    if (token_.kind != Tok::name) return wrong();
    if (name == "_") {
      code_.push_back(step);
      return lexer_.next(token_);
    }
    if (!lexer_.next(token_) || !mark('(')) return false;
    if (name == "set_bit" || name == "clear_bit") {
      uint64_t bit = 0;
      if (!index(63, bit)) return false;
      step.op = name == "set_bit" ? ParamOp::unite : ParamOp::conjoin;
      step.value = name == "set_bit" ? uint64_t{1} << bit : ~(uint64_t{1} << bit);
    } else if (name == "bit_and" || name == "bit_or") {
      step.op = name == "bit_and" ? ParamOp::conjoin : ParamOp::unite;
      if (!index(UINT64_MAX, step.value)) return false;
    } else if (name == "incr" || name == "decr") {
      step.op = name == "incr" ? ParamOp::grow : ParamOp::shrink;
      if (!range(step)) return false;
    } else {
      return wrong();
    }
    code_.push_back(step);
    return mark(')');
  }

  bool condition(size_t depth) {
    if (depth > kDeepest) {
      return lexer_.fail_at(Reason::syntax, "conditions nest too deeply; flatten them", token_);
    }
    std::string name = token_.text;
    if (token_.kind != Tok::name || !lexer_.next(token_)) return wrong();
    ParamStep step;
    step.op = ParamOp::truth;
    if (name == "true") {
      code_.push_back(step);
      if (!token_.is('(')) return true;
      return mark('(') && mark(')');
    }
    if (!mark('(')) return false;
    if (name == "and" || name == "or") {
      step.op = name == "and" ? ParamOp::both : ParamOp::either;
      if (!condition(depth + 1) || !mark(',') || !condition(depth + 1)) return false;
      code_.push_back(step);
      return mark(')');
    }
    if (name == "not") {
      if (!condition(depth + 1)) return false;
      deny();
      return mark(')');
    }
    return test(name, step) && mark(')');
  }

 private:
  void deny() {
    ParamStep step;
    step.op = ParamOp::deny;
    code_.push_back(step);
  }

  bool test(std::string name, ParamStep step) {
    step.op = ParamOp::equal;
    if (name == "bit_clear" || name == "bit_set") {
      uint64_t bit = 0;
      if (!index(63, bit)) return false;
      step.lo = static_cast<uint8_t>(bit);
      step.hi = static_cast<uint8_t>(bit + 1);
      step.value = name == "bit_set" ? 1 : 0;
      code_.push_back(step);
      return true;
    }
    if (name == "is_ones" || name == "is_zeros") {
      if (!range(step)) return false;
      step.value = name == "is_ones" ? mask_of(step) : 0;
      code_.push_back(step);
      return true;
    }
    constexpr std::string_view kCount = "bit_count_";
    step.count = name.starts_with(kCount);
    if (step.count) name.erase(0, kCount.size());
    bool denied = name == "ne" || name == "le" || name == "ge";
    if (name == "lt" || name == "ge") {
      step.op = ParamOp::less;
    } else if (name == "gt" || name == "le") {
      step.op = ParamOp::more;
    } else if (name != "eq" && name != "ne") {
      return wrong();
    }
    if (!range(step) || !mark(',') || !index(UINT64_MAX, step.value)) return false;
    code_.push_back(step);
    if (denied) deny();
    return true;
  }

  bool index(uint64_t most, uint64_t& value) {
    bool good = token_.kind == Tok::number && !token_.negative && token_.number <= most;
    if (!good) return wrong();
    value = token_.number;
    return lexer_.next(token_);
  }

  // [x:y] or _
  bool range(ParamStep& step) {
    if (token_.kind == Tok::name && token_.text == "_") return lexer_.next(token_);
    uint64_t lo = 0;
    uint64_t hi = 0;
    if (!mark('[') || !index(63, lo) || !mark(':') || !index(64, hi)) return false;
    if (lo >= hi) return wrong();
    step.lo = static_cast<uint8_t>(lo);
    step.hi = static_cast<uint8_t>(hi);
    return mark(']');
  }

  bool mark(char c) {
    if (!token_.is(c)) return wrong();
    return lexer_.next(token_);
  }

  bool wrong() {
    return lexer_.fail_at(Reason::syntax,
                          "a malformed parameter; write for example _, 0x0, set_bit(3), "
                          "incr([0:4]), %if bit_clear(3) or %if lt([0:4], 9)",
                          token_);
  }

  Lexer& lexer_;
  Token& token_;
  ParamCode& code_;
};

}  // namespace

uint64_t param_value(const ParamCode& code, uint64_t p) {
  const ParamStep& step = code.front();
  uint64_t one = uint64_t{1} << step.lo;
  switch (step.op) {
    case ParamOp::constant:
      return step.value;
    case ParamOp::conjoin:
      return p & step.value;
    case ParamOp::unite:
      return p | step.value;
    case ParamOp::grow:
      return bits_of(step, p) == mask_of(step) ? p : p + one;
    case ParamOp::shrink:
      return bits_of(step, p) == 0 ? p : p - one;
    default:
      return p;
  }
}

bool param_holds(const ParamCode& code, uint64_t p) {
  std::vector<bool> stack;
  for (const ParamStep& step : code) {
    uint64_t bits = bits_of(step, p);
    if (step.count) bits = static_cast<uint64_t>(std::popcount(bits));
    bool last = !stack.empty() && stack.back();
    switch (step.op) {
      case ParamOp::less:
        stack.push_back(bits < step.value);
        break;
      case ParamOp::equal:
        stack.push_back(bits == step.value);
        break;
      case ParamOp::more:
        stack.push_back(bits > step.value);
        break;
      case ParamOp::both:
      case ParamOp::either:
        stack.pop_back();
        stack.back() = step.op == ParamOp::both ? stack.back() && last : stack.back() || last;
        break;
      case ParamOp::deny:
        stack.back() = !last;
        break;
      default:
        stack.push_back(true);
    }
  }
  return stack.back();
}

bool read_param_value(Lexer& lexer, Token& token, ParamCode& code) {
  return Reader(lexer, token, code).value();
}

bool read_param_condition(Lexer& lexer, Token& token, ParamCode& code) {
  return Reader(lexer, token, code).condition(0);
}

}  // namespace treadle::lark
