// One draw as words: what the caller gives, and what it gets.
#include <bit>
#include <cstring>

#include "bind/wasm_cpu.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/sample.h"

namespace treadle::wasm {

namespace {

// Words before the lists: row, has mask, temperature, top_p, min_p, presence, frequency,
// repetition, top_k, step, logprobs, key (low, high), biases B, seen N.
constexpr size_t kHead = 15;
constexpr int32_t kMostTold = 20;

}  // namespace

Status draw(const CpuModel& model, cpu::SampleScratch& scratch, std::span<const int32_t> words,
            std::span<int32_t> out) {
  const auto wrong = [](const char* text) { return invalid_request("draw", text); };
  if (words.size() < kHead) return wrong("is cut short");
  const auto real = [&](size_t i) { return std::bit_cast<float>(words[i]); };
  const auto row = static_cast<uint32_t>(words[0]);
  const std::span<const float> logits = model.logits(row);
  if (logits.empty()) return wrong("is of a row that the last step did not want");
  const auto low = static_cast<uint32_t>(words[11]), high = static_cast<uint32_t>(words[12]);
  cpu::RowRule rule{.temperature = real(2), .top_p = real(3), .min_p = real(4)};
  rule.presence = real(5);
  rule.frequency = real(6);
  rule.repetition = real(7);
  rule.top_k = words[8];
  rule.step = words[9];
  rule.logprobs = words[10];
  rule.key = uint64_t{high} << 32 | low;
  if (rule.logprobs < -1 || rule.logprobs > kMostTold)
    return wrong("tells at most 20 alternatives");
  const auto biases = static_cast<uint32_t>(words[13]), seen = static_cast<uint32_t>(words[14]);
  const size_t mask_words = words[1] ? (logits.size() + 31) / 32 : 0;
  const uint64_t wanted = kHead + 2 * uint64_t{biases} + 2 * uint64_t{seen} + mask_words;
  if (words.size() != wanted) return wrong("has lists of other lengths than it says");
  words = words.subspan(kHead);
  rule.bias_ids = words.first(biases);
  rule.bias_values = {reinterpret_cast<const float*>(words.data() + biases), biases};
  words = words.subspan(size_t{2} * biases);
  rule.seen_ids = words.first(seen);
  rule.seen_counts = words.subspan(seen, seen);
  words = words.subspan(size_t{2} * seen);
  const auto* mask = mask_words ? reinterpret_cast<const uint32_t*>(words.data()) : nullptr;
  const std::string fault = cpu::rule_fault(rule, logits.size());
  if (!fault.empty()) return invalid_request("draw", fault);
  const size_t told = rule.logprobs > 0 ? static_cast<size_t>(rule.logprobs) : 0;
  if (out.size() != 3 + 2 * told) return wrong("has no room for the answer");
  scratch.grow(logits.size());
  float values[kMostTold];
  const cpu::RowDraw drawn =
      cpu::draw_row(*cpu::kernels(cpu::best_isa()), logits.data(), logits.size(), mask, rule,
                    scratch, out.data() + 3, values);
  out[0] = drawn.token;
  out[1] = drawn.status;
  out[2] = std::bit_cast<int32_t>(drawn.logprob);
  std::memcpy(out.data() + 3 + told, values, told * sizeof(float));
  return ok_status();
}

}  // namespace treadle::wasm
