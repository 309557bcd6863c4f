// What the CPU module keeps: one model, being loaded or running, and the last error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cpu/runner.h"
#include "cpu/sample.h"
#include "support/result.h"

namespace treadle::wasm {

// Memory of cpp/cpu's buffers; a failed allocation ends the instance by a trap.
struct GiveBuffer {
  void operator()(uint8_t* buffer) const;
};
using Buffer = std::unique_ptr<uint8_t[], GiveBuffer>;
Buffer take(size_t bytes);

// Weights as they arrive: bytes in the order of the file, packed strip by strip.
class Loader {
 public:
  // Each adds the next param, in the plans' order.
  Status matrix(std::string_view kind, size_t rows, size_t columns, size_t experts);
  Status vector(size_t count);
  void unused();
  // The next bytes of a param.
  Status feed(size_t param, std::span<const uint8_t> bytes);
  // Empty, or what is still missing.
  Status complete() const;
  std::vector<cpu::Param> params() const;

 private:
  struct Weight {
    cpu::Param param;
    Buffer memory;
    size_t bytes = 0, fed = 0;     // of the file
    std::vector<uint8_t> held;     // rows of a strip that is not whole yet
    size_t strip = 0, expert = 0;  // the next one
  };
  void pack_held(Weight& weight);
  size_t strip_bytes(const Weight& weight) const;

  std::vector<Weight> weights_;
};

// Loads, then runs. The batch's logits stand until the next step.
class CpuModel {
 public:
  Loader loader;

  Status plan(std::span<const uint8_t> bytes);
  void state(size_t kv_heads, size_t size) { states_.push_back({nullptr, 0, kv_heads, size}); }
  // Takes KV pages and binds everything; nothing can be added afterwards.
  Status start(size_t pages);
  // Runs a step up to its logits, in the smallest plan that takes it.
  Status step(cpu::Batch batch);
  // Row r of the last step's logits; empty if it wanted no such row.
  std::span<const float> logits(size_t row) const;
  // The same row's hidden state after the last norm, `width()` elements.
  Status hidden(size_t row, std::span<float> out) const;
  size_t width() const { return runner_ ? runner_->width() : 0; }
  // Copies a KV page in every layer.
  Status copy_page(size_t from, size_t to);
  // A worker's life, in a thread of its own; the rest is the host's. Ends with stop().
  void work(size_t worker) {
    if (runner_ && worker < runner_->workers()) runner_->work(worker);
  }
  void stop() {
    if (runner_) runner_->stop();
  }
  std::span<const cpu::Plan> plans() const { return plans_; }
  size_t vocab() const { return vocab_; }

 private:
  std::vector<cpu::Plan> plans_;
  std::vector<size_t> rows_;  // of each plan, ascending
  std::vector<cpu::State> states_;
  std::vector<Buffer> pages_;
  std::unique_ptr<cpu::Runner> runner_;
  uint32_t step_ = 0;
  size_t vocab_ = 0;
};

// Draws a token by words (wasm_cpu_draw.cc); out: token, status, log-probability, then the ids and
// the log-probabilities of the alternatives.
Status draw(const CpuModel& model, cpu::SampleScratch& scratch, std::span<const int32_t> words,
            std::span<int32_t> out);

// Products of random blocks against plain loops, for every integer kind.
Status cpu_selftest();

}  // namespace treadle::wasm
