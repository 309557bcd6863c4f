// What a step's head has read, for the host: the state that embeddings are made of.
#include <algorithm>
#include <optional>

#include "cpu/runner.h"

namespace treadle::cpu {

namespace {

template <class Is>
std::optional<Task> last_task(const Plan& plan, Is is) {
  std::optional<Task> found;
  for (size_t s = 0; s < plan.segments.size(); ++s) {
    const Segment& segment = plan.segments[s];
    for (size_t w = 0; w < plan.head.workers; ++w) {
      for (const Task& listed : plan.list(s, w)) {
        const Task task = shifted(listed, segment, segment.repeat - 1);
        if (is(task)) found = task;
      }
    }
  }
  return found;
}

bool is_op(const Task& task, Op op) {
  return task.op == static_cast<uint16_t>(op);
}

// The task whose loader makes the head's input: the head's own, or the PREP that staged it.
std::optional<Task> head_loader(const Plan& plan) {
  const std::optional<Task> head = last_task(plan, [&](const Task& task) {
    return is_op(task, Op::linear) && task.out_off == plan.head.logits_off;
  });
  if (!head || !plan.sites[head->p0].has(site_staged)) return head;
  return last_task(plan, [&](const Task& task) {
    return is_op(task, Op::prep) && task.out_off == head->in_off;
  });
}

}  // namespace

Status Runner::hidden(uint32_t step, size_t row, std::span<float> out) const {
  if (step == 0 || step > steps_ || step + 1 < steps_ || !is_over(step)) {
    return invalid_request("step", "is not over, or another one has run since");
  }
  const Posted& posted = of(step);
  const Bound& bound = *bound_[posted.plan];
  const std::optional<Task> loader = head_loader(bound.plan);
  if (!loader) return unsupported("plan", "has no head that a hidden state could be taken from");
  const Site& site = bound.plan.sites[loader->p0];
  if (row >= posted.batch.wanted || out.size() != site.k) {
    return invalid_request("row", "is not one that the step wanted, or has another width");
  }
  if (!site.has(site_wanted)) row = static_cast<size_t>(posted.batch.rows[row]);
  // No worker runs between steps, so the first one's memory is free, and nothing after the head
  // has written where its loader reads.
  DrawnRows none;
  const StepView view{bound,        model_,      *kernels_, arena_,
                      posted.batch, posted.draw, none,      workers_[0]->scratch};
  const float* sum = nullptr;
  const float* made = load_row(view, *loader, row, view.scratch.rows.data(), &sum);
  std::copy(made, made + site.k, out.begin());
  return ok_status();
}

size_t Runner::width() const {
  const Plan& plan = bound_.front()->plan;
  const std::optional<Task> loader = head_loader(plan);
  return loader ? plan.sites[loader->p0].k : 0;
}

}  // namespace treadle::cpu
