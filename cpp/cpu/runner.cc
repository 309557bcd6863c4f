#include "cpu/runner.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "cpu/clock.h"

namespace treadle::cpu {

namespace {

// The batch must fit in what was compiled; bodies index without looking.
std::string batch_fault(const PlanHeader& head, size_t pages, size_t before, const Batch& b) {
  if (b.tokens == 0 || b.tokens > head.rows) return "has no tokens, or more than the plan's rows";
  if (b.sequences > head.slots) return "has more sequences than the plan's slots";
  if (b.wanted > head.rows) return "wants more rows than the plan has";
  if (b.ids.size() != b.tokens || b.pos.size() != b.tokens || b.slots.size() != b.tokens ||
      b.starts.size() != b.sequences + 1 || b.lens.size() != b.sequences ||
      b.table.size() != b.sequences * b.table_width || b.rows.size() != b.wanted) {
    return "has arrays of the wrong length";
  }
  if (b.starts[0] != 0 || b.starts[b.sequences] != static_cast<int32_t>(b.tokens)) {
    return "has starts that do not cover its tokens";
  }
  for (size_t i = 0; i < b.tokens; ++i) {
    const int64_t id = b.ids[i];
    if (id < 0 ? -1 - id >= static_cast<int64_t>(before) : id >= head.vocab) {
      return "has ids outside the vocabulary and the tokens drawn before";
    }
    if (b.slots[i] < 0 || static_cast<size_t>(b.slots[i]) >= pages * kPage) {
      return "writes to a page that is not there";
    }
  }
  for (size_t r = 0; r < b.wanted; ++r) {
    if (b.rows[r] < 0 || static_cast<size_t>(b.rows[r]) >= b.tokens) {
      return "wants a row that is not there";
    }
    if (r > 0 && b.rows[r] <= b.rows[r - 1]) return "wants rows that do not ascend";
  }
  std::vector<int32_t> slots = b.slots;
  std::sort(slots.begin(), slots.end());
  if (std::adjacent_find(slots.begin(), slots.end()) != slots.end()) {
    return "has two tokens that share a slot";
  }
  for (int32_t page : b.table) {
    if (page < 0 || static_cast<size_t>(page) >= pages) return "names a page that is not there";
  }
  for (size_t s = 0; s < b.sequences; ++s) {
    const int64_t n = int64_t{b.starts[s + 1]} - b.starts[s], length = b.lens[s];
    if (n < 0 || n > length || (n > 0 && length > head.context)) {
      return "has a sequence longer than the plan's context, or shorter than its new tokens";
    }
    if (n == 0) continue;
    const size_t used = (static_cast<size_t>(length) + kPage - 1) / kPage;
    if (used > b.table_width) return "has a table with too few pages";
    for (int64_t i = 0; i < n; ++i) {
      if (b.pos[static_cast<size_t>(b.starts[s] + i)] != length - n + i) {
        return "has positions that do not end at the sequence's length";
      }
    }
  }
  return "";
}

}  // namespace

Runner::Bound::Bound(BoundPlan from) : BoundPlan(std::move(from)) {
  lines = std::make_unique<Line[]>(plan.counters.size());
  for (const Task& task : plan.tasks) {
    if (task.op == static_cast<uint16_t>(Op::sample) && task.n_wait) {
      logits_counter = task.wait0;
      logits_need = task.need0;
    }
  }
}

Result<std::unique_ptr<Runner>> Runner::make(std::vector<Plan> plans, Model model,
                                             const RunnerOptions& options) {
  auto runner = std::unique_ptr<Runner>(new Runner());
  runner->kernels_ = kernels(options.isa);
  if (!runner->kernels_) {
    return invalid_request("isa", "this machine or build lacks " +
                                      std::string(isa_name(options.isa)) + "; give scalar");
  }
  if (plans.empty()) return invalid_request("plan", "none given");
  runner->model_ = std::move(model);
  runner->options_ = options;
  runner->born_ = now_ns();
  size_t arena = 0;
  const size_t workers = plans.front().head.workers;
  const uint32_t tokens = plans.front().head.tokens_off;
  for (Plan& plan : plans) {
    if (plan.head.workers != workers || plan.head.tokens_off != tokens) {
      return invalid_request("plan", "buckets differ in workers or in where tokens lie");
    }
    arena = std::max<size_t>(arena, plan.head.arena);
    Result<BoundPlan> bound = bind_plan(std::move(plan), runner->model_);
    if (!bound.ok()) return bound.status();
    runner->bound_.push_back(std::make_unique<Bound>(bound.take()));
  }
  runner->epochs_.assign(runner->bound_.size(), 0);
  // On a cache line: rows are whole units of 16 bytes from there. Zeros that cost nothing until
  // they are touched: the logits of a prefill's bucket are long and mostly unused.
  runner->arena_memory_.reset(std::calloc(arena * 4 + 16, sizeof(float)));
  if (!runner->arena_memory_)
    return invalid_request("plan", "has an arena that there is no memory for");
  const auto address = reinterpret_cast<uintptr_t>(runner->arena_memory_.get());
  runner->arena_ = reinterpret_cast<float*>((address + 63) / 64 * 64);
  for (size_t w = 0; w < workers; ++w) {
    runner->workers_.push_back(std::make_unique<Worker>());
    for (const auto& bound : runner->bound_) runner->workers_[w]->scratch.grow(*bound);
    runner->workers_[w]->trace.reserve(options.trace);
  }
  runner->host_trace_.reserve(options.trace);
  return runner;
}

Status Runner::check(const Bound& bound, const Batch& batch) const {
  const std::string fault = batch_fault(bound.plan.head, bound.pages, last_wanted_, batch);
  return fault.empty() ? ok_status() : invalid_request("batch", fault);
}

uint32_t Runner::done_target(const Posted& posted) const {
  return bound_[posted.plan]->plan.counters[counter_done].need * posted.epoch;
}

bool Runner::is_over(uint32_t step) const {
  if (step == 0 || step > steps_) return step == 0;
  if (step + 1 < steps_) return true;  // or its slot could not have been taken
  return bound_[of(step).plan]->lines[counter_done].reached(done_target(of(step)));
}

Result<uint32_t> Runner::post(size_t index, Batch batch) {
  if (index >= bound_.size()) return invalid_request("plan", "there is no such bucket");
  if (steps_ > 1 && !is_over(steps_ - 1)) {
    return invalid_request("batch", "two steps are under way; wait for the first");
  }
  Bound& bound = *bound_[index];
  Status status = check(bound, batch);
  if (!status.ok()) return status;
  Posted& posted = posted_[steps_ % 2];
  posted.batch = std::move(batch);
  posted.draw = Draw{};
  posted.drawn.reset(posted.batch.wanted, 0);
  posted.plan = index;
  posted.epoch = ++epochs_[index];
  last_wanted_ = posted.batch.wanted;
  ++steps_;
  mark(trace_posted, posted, steps_);
  signal(bound.lines[counter_posted]);
  signal(posted_line_);
  if (last_wanted_ == 0 && bound_steps_ + 1 == steps_) {
    status = bind(Draw{});
    if (!status.ok()) return status;
  }
  return steps_;
}

Status Runner::bind(Draw draw) {
  if (bound_steps_ == steps_) return invalid_request("draw", "no step waits for one");
  Posted& posted = posted_[bound_steps_ % 2];
  Bound& bound = *bound_[posted.plan];
  const size_t wanted = posted.batch.wanted;
  if ((!draw.mask_row.empty() && draw.mask_row.size() != wanted) ||
      (!draw.given.empty() && draw.given.size() != wanted) ||
      (!draw.rules.empty() && draw.rules.size() != wanted) ||
      (draw.mask && draw.mask_stride * 32 < bound.plan.head.vocab)) {
    return invalid_request("draw",
                           "has other rows than the step, or masks shorter than the vocabulary");
  }
  for (int32_t token : draw.given) {
    if (token >= static_cast<int64_t>(bound.plan.head.vocab)) {
      return invalid_request("draw", "gives a token outside the vocabulary");
    }
  }
  size_t tops = 0;
  for (const RowRule& rule : draw.rules) {
    const std::string fault = rule_fault(rule, bound.plan.head.vocab);
    if (!fault.empty()) return invalid_request("draw", fault);
    tops = std::max(tops, static_cast<size_t>(std::max(rule.logprobs, 0)));
  }
  if (!draw.mask) draw.mask_row.clear();
  posted.drawn.reset(wanted, tops);
  posted.draw = std::move(draw);
  ++bound_steps_;
  mark(trace_bound, posted, bound_steps_);
  signal(bound.lines[counter_bound]);
  // A later step that wants nothing was posted while this one was open.
  if (bound_steps_ < steps_ && posted_[bound_steps_ % 2].batch.wanted == 0) return bind(Draw{});
  return ok_status();
}

bool Runner::wait_logits(uint32_t step) {
  if (step == 0 || step > steps_) return false;
  if (step + 1 < steps_) return true;
  Bound& bound = *bound_[of(step).plan];
  return host_patience_.wait(bound.lines[bound.logits_counter], bound.logits_need * of(step).epoch,
                             stop_);
}

bool Runner::wait_done(uint32_t step) {
  if (step == 0 || step > steps_) return false;
  if (is_over(step)) return true;
  return host_patience_.wait(bound_[of(step).plan]->lines[counter_done], done_target(of(step)),
                             stop_);
}

Runner::Logits Runner::logits(uint32_t step) const {
  if (step == 0 || step > steps_ || step + 1 < steps_) return {nullptr, 0, 0, 0};
  const PlanHeader& head = bound_[of(step).plan]->plan.head;
  return {arena_ + size_t{head.logits_off} * 4, of(step).batch.wanted, head.vocab,
          size_t{head.logits_stride} * 4};
}

const DrawnRows* Runner::drawn(uint32_t step) const {
  if (step == 0 || step > steps_ || step + 1 < steps_) return nullptr;
  return &of(step).drawn;
}

void Runner::mark(TraceMark what, const Posted& posted, uint32_t step) {
  if (!host_trace_.on()) return;
  host_trace_.add({now_ns() - born_, 0, 0, step, what, static_cast<uint16_t>(posted.plan)});
}

std::span<const int32_t> Runner::tokens(uint32_t step) const {
  const DrawnRows* found = drawn(step);
  if (!found) return {};
  return found->tokens;
}

bool Runner::await(Worker& worker, Line& line, uint32_t target, uint32_t at, bool host,
                   bool may_wait) {
  if (line.reached(target)) return true;
  if (!may_wait) return false;
  if (!worker.trace.on()) return worker.patience.wait(line, target, stop_);
  const int64_t begin = now_ns();
  const bool whole = worker.patience.wait(line, target, stop_);
  const auto took = static_cast<uint32_t>(std::min<int64_t>(now_ns() - begin, UINT32_MAX));
  const auto plan = static_cast<uint16_t>(posted_[worker.step % 2].plan);
  const TraceMark what = host ? trace_idle : trace_wait;
  worker.trace.add({begin - born_, took, at, worker.step + 1, what, plan});
  return whole;
}

// Waits for the next step and for the end of the one before, which may be another plan's.
bool Runner::start(Worker& worker, size_t number, bool may_wait) {
  if (options_.stall) options_.stall(options_.stall_self, number);
  if (!await(worker, posted_line_, worker.step + 1, counter_posted, true, may_wait)) return false;
  if (worker.last_done &&
      !await(worker, *worker.last_done, worker.last_target, counter_done, false, may_wait)) {
    return false;
  }
  Posted& posted = posted_[worker.step % 2];
  worker.segment = worker.repeat = worker.task = 0;
  worker.started = true;
  worker.last_done = &bound_[posted.plan]->lines[counter_done];
  worker.last_target = done_target(posted);
  turn_rows({*bound_[posted.plan], model_, *kernels_, arena_, posted.batch, posted.draw,
             posted.drawn, worker.scratch});
  return true;
}

bool Runner::run_task(Worker& worker, size_t number, const Task& task, Posted& posted,
                      bool may_wait) {
  Bound& bound = *bound_[posted.plan];
  const uint32_t waits[2] = {task.wait0, task.wait1}, needs[2] = {task.need0, task.need1};
  for (int i = 0; i < task.n_wait; ++i) {
    if (options_.stall) options_.stall(options_.stall_self, number);
    const uint32_t epoch = posted.epoch - (i == 1 && task.flags & task_first ? 1 : 0);
    const bool host = bound.plan.counters[waits[i]].kind != 0;
    Line& line = bound.lines[waits[i]];
    if (!await(worker, line, needs[i] * epoch, waits[i], host, may_wait)) return false;
  }
  const int64_t begin = worker.trace.on() ? now_ns() : 0;
  run_body(
      {bound, model_, *kernels_, arena_, posted.batch, posted.draw, posted.drawn, worker.scratch},
      task);
  if (worker.trace.on()) {
    worker.trace.add({begin - born_, static_cast<uint32_t>(now_ns() - begin), task.p0,
                      worker.step + 1, task.op, static_cast<uint16_t>(posted.plan)});
  }
  if (task.sig != kNone) signal(bound.lines[task.sig]);
  if (options_.stall) options_.stall(options_.stall_self, number);
  return true;
}

bool Runner::run_step(Worker& worker, size_t number, bool may_wait) {
  if (!worker.started && !start(worker, number, may_wait)) return false;
  Posted& posted = posted_[worker.step % 2];
  const Plan& plan = bound_[posted.plan]->plan;
  for (; worker.segment < plan.segments.size(); ++worker.segment, worker.repeat = 0) {
    const Segment& segment = plan.segments[worker.segment];
    const std::span<const Task> list = plan.list(worker.segment, number);
    for (; worker.repeat < segment.repeat; ++worker.repeat, worker.task = 0) {
      const auto repeat = static_cast<uint32_t>(worker.repeat);
      for (; worker.task < list.size(); ++worker.task) {
        const Task task = shifted(list[worker.task], segment, repeat);
        if (!run_task(worker, number, task, posted, may_wait)) return false;
      }
    }
  }
  worker.started = false;
  ++worker.step;
  return true;
}

void Runner::work(size_t worker) {
  while (run_step(*workers_[worker], worker, true)) {
  }
}

void Runner::advance() {
  while (run_step(*workers_[0], 0, false)) {
  }
}

void Runner::stop() {
  stop_.store(true, std::memory_order_seq_cst);
  rouse(posted_line_);
  for (const auto& bound : bound_) {
    for (size_t i = 0; i < bound->plan.counters.size(); ++i) rouse(bound->lines[i]);
  }
}

}  // namespace treadle::cpu
