// One model in WebAssembly: weights packed as they arrive, plans run by one worker.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "bind/wasm_cpu.h"
#include "cpu/buffer.h"

namespace treadle::wasm {

namespace {

Status wrong(std::string at, std::string text) {
  return invalid_request(std::move(at), std::move(text));
}

constexpr size_t most_experts = 4096;
constexpr uint64_t most_bytes = uint64_t{3} << 30;  // of a tensor; addresses have 32 bits

}  // namespace

void GiveBuffer::operator()(uint8_t* buffer) const {
  cpu::give_buffer(buffer);
}

Buffer take(size_t bytes) {
  uint8_t* memory = cpu::take_buffer(bytes);
  if (!memory)
    memory = static_cast<uint8_t*>(::operator new(SIZE_MAX / 2));  // a trap, with its reason
  return Buffer(memory);
}

Status Loader::matrix(std::string_view kind, size_t rows, size_t columns, size_t experts) {
  Result<cpu::Kind> known = cpu::kind_of(kind);
  if (!known.ok()) return known.status();
  Result<cpu::Shape> shape = cpu::make_shape(*known, rows, columns);
  if (!shape.ok()) return shape.status();
  const uint64_t packed = uint64_t{shape->strips} * shape->strip_bytes * experts;
  if (experts == 0 || experts > most_experts || packed > most_bytes) {
    return wrong("weight", "is too large for 32-bit memory, or has no experts");
  }
  Weight weight;
  weight.memory = take(static_cast<size_t>(packed));
  weight.param.packed = weight.memory.get();
  weight.param.shape = *shape;
  weight.param.experts = experts;
  weight.bytes = shape->rows * shape->row_bytes * experts;
  weights_.push_back(std::move(weight));
  return ok_status();
}

Status Loader::vector(size_t count) {
  if (count == 0 || count > (size_t{1} << 24)) return wrong("weight", "has no sensible length");
  Weight weight;
  weight.memory = take(count * sizeof(float));
  weight.param.values = reinterpret_cast<const float*>(weight.memory.get());
  weight.param.count = count;
  weight.bytes = count * sizeof(float);
  weights_.push_back(std::move(weight));
  return ok_status();
}

void Loader::unused() {
  weights_.emplace_back();
}

size_t Loader::strip_bytes(const Weight& weight) const {
  const cpu::Shape& shape = weight.param.shape;
  const size_t rows = std::min(cpu::kStripRows, shape.rows - weight.strip * cpu::kStripRows);
  return rows * shape.row_bytes;
}

void Loader::pack_held(Weight& weight) {
  const cpu::Shape& shape = weight.param.shape;
  const uint8_t* rows[cpu::kStripRows] = {};
  const size_t used = weight.held.size() / shape.row_bytes;
  for (size_t i = 0; i < used; ++i) rows[i] = weight.held.data() + i * shape.row_bytes;
  cpu::pack_strip(
      shape, rows,
      weight.memory.get() + weight.expert * shape.bytes() + weight.strip * shape.strip_bytes);
  weight.held.clear();
  if (++weight.strip == shape.strips) {
    weight.strip = 0;
    ++weight.expert;
  }
}

Status Loader::feed(size_t param, std::span<const uint8_t> bytes) {
  if (param >= weights_.size()) return wrong("weight", "there is no such param");
  Weight& weight = weights_[param];
  if (bytes.size() > weight.bytes - weight.fed) return wrong("weight", "gets too many bytes");
  if (weight.param.values) {
    std::memcpy(weight.memory.get() + weight.fed, bytes.data(), bytes.size());
    weight.fed += bytes.size();
    return ok_status();
  }
  weight.fed += bytes.size();
  while (!bytes.empty()) {
    const size_t whole = strip_bytes(weight);
    const size_t more = std::min(bytes.size(), whole - weight.held.size());
    weight.held.insert(weight.held.end(), bytes.begin(), bytes.begin() + static_cast<long>(more));
    bytes = bytes.subspan(more);
    if (weight.held.size() == whole) pack_held(weight);
  }
  if (weight.fed == weight.bytes) std::vector<uint8_t>().swap(weight.held);
  return ok_status();
}

Status Loader::complete() const {
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i].fed != weights_[i].bytes) {
      return wrong("weight", "param " + std::to_string(i) + " lacks " +
                                 std::to_string(weights_[i].bytes - weights_[i].fed) + " bytes");
    }
  }
  return ok_status();
}

std::vector<cpu::Param> Loader::params() const {
  std::vector<cpu::Param> out;
  for (const Weight& weight : weights_) out.push_back(weight.param);
  return out;
}

Status CpuModel::plan(std::span<const uint8_t> bytes) {
  if (runner_) return wrong("plan", "the model runs already");
  Result<cpu::Plan> read = cpu::read_plan(bytes);
  if (!read.ok()) return read.status();
#if !defined(__wasm_atomics__)
  if (read->head.workers != 1) return wrong("plan", "is for several workers; this module is one");
#endif
  if (!rows_.empty() && (read->head.rows <= rows_.back() || read->head.vocab != vocab_)) {
    return wrong("plan", "buckets come in rising order and share a vocabulary");
  }
  rows_.push_back(read->head.rows);
  vocab_ = read->head.vocab;
  plans_.push_back(read.take());
  return ok_status();
}

Status CpuModel::start(size_t pages) {
  if (runner_) return wrong("plan", "the model runs already");
  Status status = loader.complete();
  if (!status.ok()) return status;
  if (pages == 0 || pages > (size_t{1} << 20)) return wrong("pages", "give 1 to 2^20");
  for (cpu::State& state : states_) {
    if (state.kv_heads == 0 || state.kv_heads > 4096 || state.size > cpu::kMaxHead) {
      return wrong("states", "have heads that no kernel takes");
    }
    const uint64_t bytes = uint64_t{pages} * state.page_stride() * sizeof(uint16_t);
    if (bytes > most_bytes) return wrong("pages", "are more than 32-bit memory holds");
    pages_.push_back(take(static_cast<size_t>(bytes)));  // not touched before it is written
    state.data = reinterpret_cast<uint16_t*>(pages_.back().get());
    state.pages = pages;
  }
  cpu::Model model{loader.params(), states_};
  Result<std::unique_ptr<cpu::Runner>> made =
      cpu::Runner::make(std::move(plans_), std::move(model), {.isa = cpu::best_isa()});
  if (!made.ok()) return made.status();
  runner_ = made.take();
  return ok_status();
}

Status CpuModel::step(cpu::Batch batch) {
  if (!runner_) return wrong("batch", "the model is not started");
  const size_t wanted = batch.wanted;
  const auto found = std::lower_bound(rows_.begin(), rows_.end(), batch.tokens);
  if (found == rows_.end()) {
    return wrong("batch", "has " + std::to_string(batch.tokens) + " tokens, a step takes " +
                              std::to_string(rows_.empty() ? 0 : rows_.back()));
  }
  step_ = 0;
  Result<uint32_t> posted =
      runner_->post(static_cast<size_t>(found - rows_.begin()), std::move(batch));
  if (!posted.ok()) return posted.status();
  if (runner_->workers() == 1) {
    runner_->advance();
  } else if (wanted && !runner_->wait_logits(*posted)) {
    __builtin_trap();  // a worker has failed, and with it the instance
  }
  // The caller draws from the logits and names its tokens in the next batch: what the step itself
  // keeps of them is of no use, so it ends here.
  if (wanted) {
    cpu::Draw none;
    none.given.assign(wanted, 0);
    Status status = runner_->bind(std::move(none));
    if (!status.ok()) return status;
    if (runner_->workers() == 1) runner_->advance();
  }
  if (runner_->workers() > 1 && !runner_->wait_done(*posted)) __builtin_trap();
  if (!runner_->is_over(*posted)) return wrong("plan", "the step did not end");
  step_ = *posted;
  return ok_status();
}

std::span<const float> CpuModel::logits(size_t row) const {
  if (!runner_ || step_ == 0) return {};
  const cpu::Runner::Logits found = runner_->logits(step_);
  if (row >= found.rows) return {};
  return {found.data + row * found.stride, found.vocab};
}

Status CpuModel::hidden(size_t row, std::span<float> out) const {
  if (!runner_ || step_ == 0) return wrong("step", "has not been run");
  return runner_->hidden(step_, row, out);
}

Status CpuModel::copy_page(size_t from, size_t to) {
  for (const cpu::State& state : states_) {
    if (!runner_ || from >= state.pages || to >= state.pages) {
      return wrong("page", "there is no such page");
    }
    std::memmove(state.data + to * state.page_stride(), state.data + from * state.page_stride(),
                 state.page_stride() * sizeof(uint16_t));
  }
  return ok_status();
}

}  // namespace treadle::wasm
