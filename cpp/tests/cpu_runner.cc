// Workers under random stalls: a small plan of every kind of boundary, run by three threads, by one
// thread and by none, gives the same tokens and the same bits of logits, step after step.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "cpu/pool.h"
#include "cpu/runner.h"

using namespace treadle;
using namespace treadle::cpu;
using namespace treadle::test;

namespace {

constexpr uint32_t kWidth = 64, kVocab = 150, kRows = 4, kLayers = 3;

struct Weights {
  std::vector<uint8_t> table, layer[2], head;
  std::vector<float> norm;
  Model model;
};

std::vector<uint8_t> packed(Random& random, size_t rows, size_t columns, Param& param) {
  std::vector<float> values(rows * columns);
  for (float& x : values) x = static_cast<float>(random.below(2001)) / 1000.0f - 1.0f;
  param.shape = make_shape(Kind::f32, rows, columns).take();
  std::vector<uint8_t> out(param.shape.bytes());
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  check(pack(param.shape, {bytes, values.size() * 4}, 0, param.shape.strips, out).ok());
  return out;
}

void fill(Weights& w) {
  Random random(5);
  w.model.params.resize(5);
  w.table = packed(random, kVocab, kWidth, w.model.params[0]);
  w.layer[0] = packed(random, kWidth, kWidth, w.model.params[1]);
  w.layer[1] = packed(random, kWidth, kWidth, w.model.params[2]);
  w.head = packed(random, kVocab, kWidth, w.model.params[3]);
  w.norm.assign(kWidth, 0.1f);
  const std::vector<uint8_t>* matrices[] = {&w.table, &w.layer[0], &w.layer[1], &w.head};
  for (size_t i = 0; i < 4; ++i) w.model.params[i].packed = matrices[i]->data();
  w.model.params[4].values = w.norm.data();
  w.model.params[4].count = kWidth;
}

Site site(Op op, uint32_t k, uint32_t n, uint32_t weight, uint32_t rows) {
  Site s{};
  s.op = static_cast<uint16_t>(op);
  s.k = k;
  s.n = n;
  for (int i = 0; i < 3; ++i) s.w[i] = s.b[i] = kNone;
  s.parts = weight != kNone;
  s.w[0] = weight;
  s.rows[0] = rows;
  s.lane[0] = s.parts ? 16 : 0;
  s.norm = s.post = s.terms_off = s.q_norm = s.k_norm = s.freq = s.state = kNone;
  s.scale = 1.0f;
  s.in_stride = (k + 3) / 4;
  s.out_stride = (n + 3) / 4;
  return s;
}

// EMBED, then layers of two LINEARs with a norm, the head, and SAMPLE; every phase is one counter.
std::vector<uint8_t> plan_bytes(uint32_t workers) {
  constexpr uint32_t tokens = 0, x = 8, y = x + kRows * kWidth / 4, logits = y + kRows * kWidth / 4;
  constexpr uint32_t stride = (kVocab + 3) / 4, arena = logits + kRows * stride;
  std::vector<Site> sites = {site(Op::embed, 0, kWidth, 0, kVocab)};
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    for (uint32_t part = 0; part < 2; ++part) {
      sites.push_back(site(Op::linear, kWidth, kWidth, 1 + part, kWidth));
      sites.back().norm = 4;
      sites.back().norm_eps = 1e-5f;
    }
  }
  sites.push_back(site(Op::linear, kWidth, kVocab, 3, kVocab));
  sites.back().flags = site_wanted | site_take;
  sites.push_back(site(Op::sample, kVocab, 1, kNone, 0));
  sites.back().flags = site_wanted;
  // Counters: posted, bound, done, then one for each phase but the last.
  const auto phases = static_cast<uint32_t>(sites.size());
  std::vector<PlanCounter> counters(3 + phases - 1, PlanCounter{workers, 2, 0, 0, 0});
  counters[0] = counters[1] = PlanCounter{1, 2, 1, 0, 0};
  const auto task = [&](uint32_t phase, uint32_t worker) {
    Task t{};
    const Site& s = sites[phase];
    t.op = s.op;
    t.n_wait = 1;
    t.wait0 = phase ? 2 + phase : counter_posted;
    t.need0 = phase ? workers : 1;
    t.wait1 = t.in_off = t.aux_off = kNone;
    t.sig = phase + 1 < phases ? 3 + phase : counter_done;
    t.rows = kRows;
    t.p0 = phase;
    t.p1 = worker | workers << 16;
    if (phase == 0) {
      t.n_wait = 2, t.wait1 = counter_done, t.need1 = workers, t.flags = task_first;
    } else if (s.op == static_cast<uint16_t>(Op::sample)) {
      t.n_wait = 2, t.wait1 = counter_bound, t.need1 = 1, t.flags = 16;
    }
    if (s.op == static_cast<uint16_t>(Op::linear)) {
      const uint32_t strips = (s.rows[0] + 15) / 16;
      t.w_tile0 = strips * worker / workers;
      t.w_tiles = strips * (worker + 1) / workers - t.w_tile0;
      t.klen = 1;
      t.p1 = 1 << 16;
      t.in_off = phase % 2 ? x : y;
    }
    t.out_off = phase % 2 ? y : x;
    if (phase + 2 == phases) t.out_off = logits;
    if (phase + 1 == phases) t.in_off = logits, t.out_off = tokens;
    return t;
  };
  // Segments: embed; one template for all layers; head and sample.
  std::vector<Segment> segments = {{1, 0, 0, 0}, {kLayers, 2, 2, 0}, {1, 0, 0, 0}};
  std::vector<uint32_t> index;
  std::vector<Task> tasks;
  const std::vector<std::vector<uint32_t>> lists = {{0}, {1, 2}, {phases - 2, phases - 1}};
  for (const std::vector<uint32_t>& list : lists) {
    index.push_back(static_cast<uint32_t>(tasks.size()));
    for (uint32_t w = 0; w < workers; ++w) {
      for (uint32_t phase : list) tasks.push_back(task(phase, w));
      index.push_back(static_cast<uint32_t>(tasks.size()));
    }
  }
  PlanHeader head{};
  std::memcpy(head.magic, "TMEG", 4);
  head.version = 1;
  head.workers = workers;
  head.segments = 3;
  head.counters = static_cast<uint32_t>(counters.size());
  head.sites = phases;
  head.tasks = static_cast<uint32_t>(tasks.size());
  head.arena = arena;
  head.rows = kRows;
  head.slots = head.segment = head.page = 16;
  head.context = 64;
  head.ranks = 1;
  head.tile_k = 256;
  head.weights = 5;
  head.logits_off = logits;
  head.logits_stride = stride;
  head.tokens_off = tokens;
  head.vocab = kVocab;
  std::vector<uint8_t> out;
  const auto put = [&](const void* from, size_t size) {
    out.resize((out.size() + 63) / 64 * 64);
    out.insert(out.end(), static_cast<const uint8_t*>(from),
               static_cast<const uint8_t*>(from) + size);
  };
  put(&head, sizeof head);
  put(segments.data(), segments.size() * sizeof(Segment));
  put(index.data(), index.size() * 4);
  put(counters.data(), counters.size() * sizeof(PlanCounter));
  put(sites.data(), sites.size() * sizeof(Site));
  put(tasks.data(), tasks.size() * sizeof(Task));
  return out;
}

Batch batch_of(uint32_t step, uint32_t wanted_before) {
  Random random(step);
  Batch b;
  b.tokens = 1 + random.below(kRows);
  b.sequences = 1;
  b.table_width = 1;
  for (size_t i = 0; i < b.tokens; ++i) {
    const bool drawn = wanted_before && random.below(2);
    b.ids.push_back(drawn ? -1 - static_cast<int32_t>(random.below(wanted_before))
                          : static_cast<int32_t>(random.below(kVocab)));
    b.pos.push_back(static_cast<int32_t>(i));
    b.slots.push_back(static_cast<int32_t>(i));
  }
  b.starts = {0, static_cast<int32_t>(b.tokens)};
  b.lens = {static_cast<int32_t>(b.tokens)};
  b.table = {0};
  for (size_t i = random.below(2); i < b.tokens; ++i) b.rows.push_back(static_cast<int32_t>(i));
  b.wanted = b.rows.size();
  return b;
}

void stall(void*, size_t worker) {
  thread_local Random random(worker + 99);
  const uint32_t dice = random.below(400);
  if (dice == 0) std::this_thread::sleep_for(std::chrono::microseconds(random.below(300)));
  if (dice < 40) std::this_thread::yield();
}

struct Outcome {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<float> logits;

  bool operator==(const Outcome& other) const {
    return tokens == other.tokens && logits.size() == other.logits.size() &&
           std::memcmp(logits.data(), other.logits.data(), logits.size() * 4) == 0;
  }
};

// With `ahead`, a step is posted before the one before it was drawn.
Outcome run(Weights& w, uint32_t workers, uint32_t steps, bool threads, bool ahead) {
  std::vector<Plan> plans;
  plans.push_back(read_plan(plan_bytes(workers)).take());
  plans.push_back(plans[0]);
  RunnerOptions options;
  if (threads) options.stall = stall;
  Result<std::unique_ptr<Runner>> made = Runner::make(std::move(plans), w.model, options);
  Outcome out;
  if (!check(made.ok(), made.ok() ? "" : made.status().text)) return out;
  Runner& runner = **made;
  std::unique_ptr<WorkerThreads> pool;
  if (threads) pool = std::make_unique<WorkerThreads>(runner);
  const auto go = [&] {
    if (!threads) runner.advance();
  };
  const std::vector<uint32_t> mask((kVocab + 31) / 32, 0xF0F0F0F0);
  uint32_t before = 0;
  const auto finish = [&](uint32_t step) {
    if (!check(runner.wait_done(step), "closed")) return;
    const std::span<const int32_t> tokens = runner.tokens(step);
    out.tokens.emplace_back(tokens.begin(), tokens.end());
  };
  for (uint32_t step = 1; step <= steps; ++step) {
    Batch batch = batch_of(step, before);
    before = static_cast<uint32_t>(batch.wanted);
    Result<uint32_t> posted = runner.post(step % 2, std::move(batch));
    if (!check(posted.ok() && *posted == step, posted.ok() ? "" : posted.status().text)) return out;
    go();
    if (ahead && step > 1) finish(step - 1);
    if (before) {
      check(runner.wait_logits(step));
      const Runner::Logits logits = runner.logits(step);
      for (size_t r = 0; r < logits.rows; ++r) {
        const float* row = logits.data + r * logits.stride;
        out.logits.insert(out.logits.end(), row, row + logits.vocab);
      }
      Draw draw;
      draw.mask = mask.data();
      draw.mask_stride = mask.size();
      draw.mask_row.assign(before, step % 3 ? 0 : -1);
      check(runner.bind(std::move(draw)).ok());
      go();
    }
    if (!ahead) finish(step);
  }
  if (ahead) finish(steps);
  return out;
}

void refusals() {
  const std::vector<uint8_t> good = plan_bytes(2);
  check(read_plan(good).ok());
  Random random(3);
  size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {  // any damage is refused or harmless to read
    std::vector<uint8_t> bad = good;
    for (int n = 0; n < 3; ++n)
      bad[random.below(static_cast<uint32_t>(bad.size()))] ^= 1u << random.below(8);
    if (random.below(4) == 0) bad.resize(random.below(static_cast<uint32_t>(bad.size())));
    Weights w;
    fill(w);
    Result<Plan> plan = read_plan(bad);
    if (!plan.ok() || !bind_plan(plan.take(), w.model).ok()) ++refused;
  }
  check(refused > 1000, std::to_string(refused) + " refused");
  Weights w;
  fill(w);
  std::vector<Plan> plans;
  plans.push_back(read_plan(good).take());
  std::unique_ptr<Runner> runner = Runner::make(std::move(plans), w.model, {}).take();
  Batch batch = batch_of(1, 0);
  batch.ids[0] = -1;
  check(!runner->post(0, batch).ok(), "a token never drawn");
  batch.ids[0] = kVocab;
  check(!runner->post(0, batch).ok(), "an id past the vocabulary");
  batch.ids[0] = 0;
  batch.pos[0] = 1;
  check(!runner->post(0, batch).ok(), "positions that do not fit");
  batch.pos[0] = 0;
  check(!runner->post(1, batch).ok(), "no such plan");
  check(runner->post(0, batch).ok() && runner->post(0, batch).ok() && !runner->post(0, batch).ok(),
        "a third step");
}

}  // namespace

int main() {
  Weights w;
  fill(w);
  constexpr uint32_t steps = 300;
  const Outcome alone = run(w, 1, steps, false, false);
  check(alone.tokens.size() == steps && alone.logits.size() > steps * kVocab / 2);
  for (const std::vector<int32_t>& tokens : alone.tokens) {
    for (int32_t token : tokens) check(token >= 0 && token < static_cast<int32_t>(kVocab));
  }
  check(run(w, 1, steps, true, false) == alone, "one thread differs");
  check(run(w, 3, steps, true, false) == alone, "three threads differ");
  check(run(w, 3, steps, true, true) == alone, "posting ahead differs");
  refusals();
  return report();
}
