// What workers did and when: rings that exist before the first step, a few nanoseconds a record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace treadle::cpu {

// What a record tells that is no task; tasks carry their op.
enum TraceMark : uint16_t {
  trace_wait = 100,  // for other workers: `at` is the counter
  trace_idle,        // for the host: a batch, or how to draw
  trace_posted,      // the host gave a step, in no time
  trace_bound,       // the host said how its tokens are drawn
};

struct TraceRecord {
  int64_t start;    // nanoseconds since the runner was made
  uint32_t length;  // nanoseconds
  uint32_t at;      // site of a task, counter of a wait
  uint32_t step;
  uint16_t what;  // an Op or a TraceMark
  uint16_t plan;
};
static_assert(sizeof(TraceRecord) == 24);

// The last so many records of one thread; none when its size is 0.
class TraceRing {
 public:
  void reserve(size_t records) { records_.resize(records); }
  bool on() const { return !records_.empty(); }

  void add(const TraceRecord& record) { records_[count_++ % records_.size()] = record; }

  // Oldest first. Read while the thread is idle.
  std::vector<TraceRecord> ordered() const {
    std::vector<TraceRecord> out;
    const size_t size = records_.size(), held = count_ < size ? count_ : size;
    out.reserve(held);
    for (size_t i = count_ - held; i < count_; ++i) out.push_back(records_[i % size]);
    return out;
  }

 private:
  std::vector<TraceRecord> records_;
  size_t count_ = 0;
};

}  // namespace treadle::cpu
