// Triggers of free text: which lists are sound, and which may be looked for one by one.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/budget.h"

namespace treadle::tag {

// A list of triggers that should not be: the index of the culprit.
struct BadTrigger {
  enum class Why { begins_another, excluded_within } why;
  size_t index;  // of the trigger that begins another; of the exclude
};

// No trigger begins another one, and none contains an excluded text, or no tag could begin. When
// the fuel runs out the answer means nothing.
std::optional<BadTrigger> bad_trigger(std::span<const std::string> triggers,
                                      std::span<const std::string> excludes, Fuel& fuel);

// The trigger that begins `text`; there is at most one in a sound list.
class TriggerIndex {
 public:
  explicit TriggerIndex(std::span<const std::string> triggers);
  [[nodiscard]] std::optional<size_t> of(std::string_view text) const;
  // Whether some trigger begins with `text`; `whole`: the text itself does not count.
  [[nodiscard]] bool any_with(std::string_view text, bool whole) const;

 private:
  std::span<const std::string> triggers_;
  std::vector<size_t> sorted_;
};

// Whether a trigger or an excluded text that began before a trigger may end within it. If not,
// free text (which contains neither) and then a trigger is all there is to say about where the
// first trigger of a text stands.
bool may_overlap(std::span<const std::string> triggers, std::span<const std::string> excludes,
                 Fuel& fuel);

}  // namespace treadle::tag
