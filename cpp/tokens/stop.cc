#include "tokens/stop.h"

namespace treadle {

StopStrings::StopStrings(std::span<const std::string> stops) : stops_(stops.begin(), stops.end()) {
  states_.emplace_back();
  for (size_t i = 0; i < stops_.size(); ++i) insert(i);
  link();
}

uint32_t StopStrings::child(uint32_t state, uint8_t byte) const {
  if (state == 0) return root_[byte];
  uint32_t next = states_[state].child;
  while (next != 0 && states_[next].byte != byte) next = states_[next].sibling;
  return next;
}

void StopStrings::insert(size_t index) {
  uint32_t state = 0;
  for (char c : stops_[index]) {
    auto byte = static_cast<uint8_t>(c);
    uint32_t next = child(state, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(states_.size());
      states_.push_back(
          {.sibling = states_[state].child, .depth = states_[state].depth + 1, .byte = byte});
      states_[state].child = next;
      if (state == 0) root_[byte] = next;
    }
    state = next;
  }
  if (states_[state].hit < 0) states_[state].hit = static_cast<int32_t>(index);
}

void StopStrings::link() {
  // Breadth first: a state's fail link is shallower, hence already final, when it is read.
  std::vector<uint32_t> queue;
  queue.reserve(states_.size());
  for (uint32_t s = states_[0].child; s != 0; s = states_[s].sibling) queue.push_back(s);
  for (size_t i = 0; i < queue.size(); ++i) {
    uint32_t parent = queue[i];
    for (uint32_t s = states_[parent].child; s != 0; s = states_[s].sibling) {
      states_[s].fail = next(states_[parent].fail, states_[s].byte);
      queue.push_back(s);
    }
    // The state's own string is longer than any that ends here by way of its fail link.
    if (states_[parent].hit < 0) states_[parent].hit = states_[states_[parent].fail].hit;
  }
}

uint32_t StopStrings::next(uint32_t state, uint8_t byte) const {
  while (true) {
    uint32_t next = child(state, byte);
    if (next != 0 || state == 0) return next;
    state = states_[state].fail;
  }
}

std::optional<std::string_view> StopSearch::push(std::string_view text, std::string& out) {
  if (stopped_) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    state_ = stops_->next(state_, static_cast<uint8_t>(text[i]));
    int32_t hit = stops_->hit(state_);
    if (hit < 0) continue;
    const std::string& stop = stops_->text(hit);
    held_ += text.substr(0, i + 1);
    out.append(held_, 0, held_.size() - stop.size());
    held_.clear();
    stopped_ = true;
    return stop;
  }
  held_ += text;
  size_t ready = held_.size() - stops_->depth(state_);
  out.append(held_, 0, ready);
  held_.erase(0, ready);
  return std::nullopt;
}

void StopSearch::flush(std::string& out) {
  out += held_;
  held_.clear();
  state_ = 0;
  stopped_ = false;
}

}  // namespace treadle
