// Runs plans with workers that come from outside: any thread may call work(w), and where there are
// no threads advance() does as much as can be done. After make() nothing allocates but the copies
// of a batch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "cpu/model.h"
#include "cpu/step.h"
#include "cpu/trace.h"
#include "cpu/wait.h"

namespace treadle::cpu {

struct RunnerOptions {
  Isa isa = Isa::scalar;
  // Called before each wait and after each signal: tests stall workers here.
  void (*stall)(void* self, size_t worker) = nullptr;
  void* stall_self = nullptr;
  size_t trace = 0;  // records that each thread keeps: the latest
};

class Runner {
 public:
  // All plans share weights, states, arena and workers. `model` must outlive the runner's arrays.
  static Result<std::unique_ptr<Runner>> make(std::vector<Plan> plans, Model model,
                                              const RunnerOptions& options);
  ~Runner() { stop(); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  size_t workers() const { return workers_.size(); }
  size_t plans() const { return bound_.size(); }
  const Plan& plan(size_t i) const { return bound_[i]->plan; }

  // The host's side, one thread at a time. Gives the workers a step and returns its number, from 1
  // on; the batch must fit plan `index`. At most two steps are under way, a third is refused. A
  // batch that wants no row is bound at once.
  Result<uint32_t> post(size_t index, Batch batch);
  // How to draw the tokens of the oldest step not yet bound. Masks must live until it is over.
  Status bind(Draw draw);
  // Waits for the logits, or the end, of a step. False: stopped, or there is no such step.
  bool wait_logits(uint32_t step);
  bool wait_done(uint32_t step);
  bool is_over(uint32_t step) const;
  // Of the plan of one of the last two steps: rows of `vocab`, `stride` floats apart. They stand
  // from wait_logits() until a later step runs.
  struct Logits {
    const float* data;
    size_t rows, vocab, stride;
  };
  Logits logits(uint32_t step) const;
  // Wanted row `row` of one of the last two steps, once it is over, as the head has read it: the
  // hidden state after the last norm. `out` has width() elements (0: the plans have no head).
  Status hidden(uint32_t step, size_t row, std::span<float> out) const;
  size_t width() const;
  // What was drawn in one of the last two steps, once it is over; null for another step.
  const DrawnRows* drawn(uint32_t step) const;
  // Its tokens [wanted]; -1: none was legal, or the logits were not finite.
  std::span<const int32_t> tokens(uint32_t step) const;

  // A worker's life: steps until stop(). One thread a worker.
  void work(size_t worker);
  // One worker and no threads: runs until a signal of the host is missing.
  void advance();
  // All workers return; the runner is of no further use.
  void stop();

  // What a worker has recorded, or the host (number workers()); read while it is idle.
  std::vector<TraceRecord> trace(size_t number) const {
    return (number < workers_.size() ? workers_[number]->trace : host_trace_).ordered();
  }

 private:
  struct Bound : BoundPlan {
    std::unique_ptr<Line[]> lines;
    uint32_t logits_counter = 0, logits_need = 0;
    explicit Bound(BoundPlan from);
  };
  struct Posted {  // one of two steps under way
    Batch batch;
    Draw draw;
    DrawnRows drawn;
    size_t plan = 0;
    uint32_t epoch = 0;  // of that plan
  };
  struct Worker {
    Scratch scratch;
    Patience patience;
    TraceRing trace;
    uint32_t step = 0;  // steps finished
    bool started = false;
    // The end of the step before; its slot may be another's by the time it is looked at.
    Line* last_done = nullptr;
    uint32_t last_target = 0;
    size_t segment = 0, repeat = 0, task = 0;
  };

  Runner() = default;
  Status check(const Bound& bound, const Batch& batch) const;
  // at: the counter's number; host: whether the host signals it.
  bool await(Worker& worker, Line& line, uint32_t target, uint32_t at, bool host, bool may_wait);
  void mark(TraceMark what, const Posted& posted, uint32_t step);
  bool start(Worker& worker, size_t number, bool may_wait);
  bool run_step(Worker& worker, size_t number, bool may_wait);
  bool run_task(Worker& worker, size_t number, const Task& task, Posted& posted, bool may_wait);
  const Posted& of(uint32_t step) const { return posted_[(step - 1) % 2]; }
  uint32_t done_target(const Posted& posted) const;

  Model model_;
  const Kernels* kernels_ = nullptr;
  RunnerOptions options_;
  std::vector<std::unique_ptr<Bound>> bound_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<void, void (*)(void*)> arena_memory_{nullptr, &std::free};
  float* arena_ = nullptr;
  Posted posted_[2];
  std::vector<uint32_t> epochs_;  // of each plan
  uint32_t steps_ = 0, bound_steps_ = 0;
  size_t last_wanted_ = 0;
  Line posted_line_;
  std::atomic<bool> stop_ = false;
  Patience host_patience_;
  TraceRing host_trace_;
  int64_t born_ = 0;
};

}  // namespace treadle::cpu
