// A stack whose first items need no allocation: the work lists of walks over nodes.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace treadle {

template <class Item, size_t kInline = 24>
class SmallStack {
 public:
  SmallStack() = default;
  explicit SmallStack(Item first) { push_back(first); }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  void push_back(Item item) {
    if (size_ < kInline) {
      here_[size_] = item;
    } else {
      more_.push_back(item);
    }
    ++size_;
  }
  Item back() const { return size_ <= kInline ? here_[size_ - 1] : more_.back(); }
  void pop_back() {
    if (size_ > kInline) more_.pop_back();
    --size_;
  }

 private:
  std::array<Item, kInline> here_;
  std::vector<Item> more_;
  size_t size_ = 0;
};

}  // namespace treadle
