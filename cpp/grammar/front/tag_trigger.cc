#include "grammar/front/tag_trigger.h"

#include <algorithm>

#include "grammar/typed/dispatch.h"

namespace treadle::tag {

TriggerIndex::TriggerIndex(std::span<const std::string> triggers) : triggers_(triggers) {
  sorted_.resize(triggers.size());
  for (size_t i = 0; i < sorted_.size(); ++i) sorted_[i] = i;
  std::sort(sorted_.begin(), sorted_.end(), [&](size_t a, size_t b) {
    return triggers[a] != triggers[b] ? triggers[a] < triggers[b] : a < b;
  });
}

std::optional<size_t> TriggerIndex::of(std::string_view text) const {
  auto after =
      std::upper_bound(sorted_.begin(), sorted_.end(), text,
                       [&](std::string_view wanted, size_t i) { return wanted < triggers_[i]; });
  if (after == sorted_.begin()) return std::nullopt;
  const size_t found = *std::prev(after);
  return text.starts_with(triggers_[found]) ? std::optional(found) : std::nullopt;
}

bool TriggerIndex::any_with(std::string_view text, bool whole) const {
  auto found =
      std::lower_bound(sorted_.begin(), sorted_.end(), text,
                       [&](size_t i, std::string_view wanted) { return triggers_[i] < wanted; });
  if (!whole && found != sorted_.end() && triggers_[*found] == text) ++found;
  return found != sorted_.end() && std::string_view(triggers_[*found]).starts_with(text);
}

std::optional<BadTrigger> bad_trigger(std::span<const std::string> triggers,
                                      std::span<const std::string> excludes, Fuel& fuel) {
  using Why = BadTrigger::Why;
  // In order of their bytes, a trigger stands right before those that it begins.
  std::vector<size_t> order(triggers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return triggers[a] != triggers[b] ? triggers[a] < triggers[b] : a < b;
  });
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    if (triggers[order[i + 1]].starts_with(triggers[order[i]])) {
      return BadTrigger{Why::begins_another, order[i]};
    }
  }
  if (excludes.empty() || !fuel.spend(Automaton::cost(excludes))) return std::nullopt;
  const Automaton words({excludes.begin(), excludes.end()});
  for (const std::string& trigger : triggers) {
    if (!words.found_in(trigger)) continue;
    for (size_t i = 0; i < excludes.size(); ++i) {
      if (trigger.find(excludes[i]) != std::string::npos) {
        return BadTrigger{Why::excluded_within, i};
      }
    }
  }
  return std::nullopt;
}

bool may_overlap(std::span<const std::string> triggers, std::span<const std::string> excludes,
                 Fuel& fuel) {
  const TriggerIndex index(triggers);
  const auto crosses = [&](const std::string& word, bool excluded) {
    for (size_t from = 1; from < word.size(); ++from) {
      const std::string_view end = std::string_view(word).substr(from);
      if (!fuel.spend(1 + end.size() / 8) || index.any_with(end, excluded)) return true;
    }
    return false;
  };
  for (const std::string& word : triggers) {
    if (crosses(word, false)) return true;
  }
  for (const std::string& word : excludes) {
    if (crosses(word, true)) return true;
  }
  // One trigger inside another: the inner one ends first.
  for (const std::string& trigger : triggers) {
    for (size_t from = 1; from < trigger.size(); ++from) {
      const auto inner = index.of(std::string_view(trigger).substr(from));
      if (inner && from + triggers[*inner].size() < trigger.size()) return true;
    }
  }
  return false;
}

}  // namespace treadle::tag
