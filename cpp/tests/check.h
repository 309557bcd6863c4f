// The whole test framework: check() counts failures and says where, report() is main's result.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <source_location>
#include <string>

namespace treadle::test {

inline std::atomic<int> checks = 0;  // threads check too
inline std::atomic<int> failures = 0;

inline bool check(bool ok, const std::string& what = {},
                  std::source_location where = std::source_location::current()) {
  ++checks;
  if (ok) return true;
  if (++failures <= 20) {
    std::fprintf(stderr, "%s:%u: check failed %s\n", where.file_name(),
                 static_cast<unsigned>(where.line()), what.c_str());
  }
  return false;
}

inline int report() {  // a test that checked nothing has failed
  std::printf("%d checks, %d failures\n", checks.load(), failures.load());
  return failures > 0 || checks == 0;
}

// Small and the same everywhere (xorshift64*), so a failure is repeated by its seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  uint32_t below(uint32_t n) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545F4914F6CDD1DULL) >> 33) % n;
  }

 private:
  uint64_t state_;
};

}  // namespace treadle::test
