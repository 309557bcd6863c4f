// Arrays whose elements are not set until somebody sets them: a system gives memory pages when they
// are written, so room for the largest step costs nothing while steps are small.
#pragma once

#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace treadle::cpu {

// The allocator of numbers that resize() leaves undefined.
template <class T>
struct Unset : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = Unset<U>;
  };
  Unset() = default;
  template <class U>
  Unset(const Unset<U>&) {}

  template <class U>
  void construct(U* at) noexcept {
    ::new (static_cast<void*>(at)) U;
  }
  template <class U, class... Values>
  void construct(U* at, Values&&... values) noexcept {
    ::new (static_cast<void*>(at)) U(std::forward<Values>(values)...);
  }
};

template <class T>
using Room = std::vector<T, Unset<T>>;

}  // namespace treadle::cpu
