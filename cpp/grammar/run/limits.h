// Budgets of the grammar core. Mirrors GrammarLimits of python/treadle/limits.py (a test compares).
#pragma once

#include <cstdint>

namespace treadle {

struct Limits {
  uint64_t source_bytes = 16u << 20;   // bytes of one schema, regex or grammar
  uint64_t source_depth = 1'000;       // nesting of the source text
  uint64_t regex_bytes = 1u << 20;     // bytes of one pattern
  uint64_t ir_nodes = 2'000'000;       // nodes of one grammar
  uint64_t derived_nodes = 1'000'000;  // nodes derived lazily while one grammar runs
  uint64_t compile_fuel = 6'000'000;   // work units, about 33,000 a millisecond
  uint64_t step_fuel = 100'000'000;    // work units of one mask, about 400,000 a millisecond
  uint64_t stack_depth = 10'000;       // nesting of the output
  uint64_t branches = 4'096;           // alternatives of one value
  uint64_t configs = 4'096;            // parallel readings of one text
  uint64_t number_digits = 400;        // digits of one number
  uint64_t seen_values = 1'024;        // items of one array that are told apart by value
  uint64_t whitespace = 64;            // longest run of optional whitespace in JSON
  uint64_t cache_bytes = 128u << 20;   // bytes of all masks and transitions of one grammar

  bool operator==(const Limits&) const = default;
};

}  // namespace treadle
