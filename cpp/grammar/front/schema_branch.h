// How one condition changes an alternative under construction.
#pragma once

#include <vector>

#include "grammar/front/schema_form.h"

namespace treadle::schema {

// An alternative on the way to a plain form.
struct Branch {
  Form form;
  Conj pending;                           // conditions not yet taken up
  Conj done;                              // sorted; a condition counts once
  std::vector<std::vector<Conj>> groups;  // choices still open: one of each group must hold

  [[nodiscard]] bool has(Sub sub) const;
  bool enter(Sub sub);  // false if it was taken up before
};

// Takes up one condition: narrows the form, adds conditions, or adds a choice.
Status apply(Store& store, Source& source, Branch& branch, Sub sub, bool loose);

// What the branch says of the value of a member that must be there and fail: true if it does, false
// if it cannot, none if that is open. `looked` counts what was looked at.
std::optional<bool> fails_surely(const Source& source, const Branch& branch, json::Value member,
                                 uint64_t& looked);

// Fills the scopes of `unevaluated...` once no choice is open (schema_uneval.cc).
void close_scopes(const Source& source, Branch& branch);

// The parts of it, one a kind of condition.
void apply_refuted(Source& source, Branch& branch, json::Value schema);
void apply_refuted_keyword(Store& store, Source& source, Form& form, json::Value argument);
void apply_type(Form& form, json::Value argument, bool holds, Dialect dialect);
void apply_values(Store& store, Form& form, std::vector<json::Value> values);  // scalars
void apply_other_values(Store& store, Form& form, const std::vector<json::Value>& values);
void apply_literal(Store& store, Form& form, json::Value value);
void apply_key(Form& form, Sub sub, json::Value node);
void apply_failing_part(Form& form, Sub sub, json::Value node);
void apply_difference(Store& store, Branch& branch, json::Value literal);
void apply_shape(Form& form, Sub sub, json::Value literal);
void apply_some(const Source& source, Form& form, json::Value argument);
// How many items `contains` wants; false if it wants nothing.
bool contains_bounds(const Source& source, json::Value argument, uint32_t& min, uint32_t& max);
void apply_item_failures(const Source& source, Form& form, Sub sub, json::Value argument);
// How many items come before those of `items` or `additionalItems`.
uint32_t prefix_size(const Source& source, json::Value argument);
Status apply_number(Form& form, Keyword keyword, const Source& source, json::Value argument);
bool apply_count(Form& form, Keyword keyword, json::Value argument);
std::optional<Bound> bound_of(json::Value argument, bool low);

}  // namespace treadle::schema
