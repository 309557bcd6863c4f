// The CPU module's C ABI: one model an instance. Results are numbers from 0 or minus an error code;
// tr_error describes the last one as JSON.
#include "bind/wasm_cpu.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace treadle::wasm {

namespace {

constexpr uint32_t kPage = 64 << 10;

struct Module {
  CpuModel model;
  cpu::SampleScratch scratch;
  Status error;
};

Module& module() {
  static Module* const only = new Module();  // never destroyed: the program ends with its memory
  return *only;
}

int32_t answer(Status status) {
  if (status.ok()) return 0;
  module().error = std::move(status);
  return -static_cast<int32_t>(module().error.code);
}

bool in_memory(uint32_t address, uint64_t bytes) {
  return uint64_t{address} + bytes <= uint64_t{__builtin_wasm_memory_size(0)} * kPage;
}

// The bytes that a caller points at; an error where they do not lie in memory.
template <class T, class Use>
int32_t lent(uint32_t address, uint32_t count, Use use) {
  if (address % alignof(T) || !in_memory(address, uint64_t{count} * sizeof(T))) {
    return answer(invalid_request("address", "lies outside the module's memory"));
  }
  return use(std::span<const T>(reinterpret_cast<const T*>(address), count));
}

int32_t copy_out(std::string_view text, uint32_t address, uint32_t capacity) {
  if (capacity && in_memory(address, capacity)) {
    std::memcpy(reinterpret_cast<void*>(address), text.data(),
                std::min<size_t>(text.size(), capacity));
  }
  return static_cast<int32_t>(text.size());
}

void put_member(std::string& out, std::string_view name, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  out += out.empty() ? "{\"" : ",\"";
  out += name;
  out += "\":\"";
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20) {
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

// Cuts a run of words into arrays.
class Words {
 public:
  explicit Words(std::span<const int32_t> words) : words_(words) {}
  uint32_t number() {
    if (words_.empty()) return 0;
    const auto out = static_cast<uint32_t>(words_.front());
    words_ = words_.subspan(1);
    return out;
  }
  std::vector<int32_t> array(uint64_t count) {
    const auto some = static_cast<size_t>(std::min<uint64_t>(count, words_.size()));
    std::vector<int32_t> out(words_.begin(), words_.begin() + static_cast<long>(some));
    words_ = words_.subspan(some);
    return out;  // one that is short is refused by the runner
  }
  bool empty() const { return words_.empty(); }

 private:
  std::span<const int32_t> words_;
};

}  // namespace

extern "C" {

// {code, message, at} of the last call that failed; its length.
__attribute__((export_name("tr_error"))) int32_t tr_error(uint32_t buffer, uint32_t capacity) {
  const Status& error = module().error;
  std::string out;
  put_member(out, "code", code_name(error.code));
  put_member(out, "message", error.text);
  put_member(out, "at", error.at);
  return copy_out(out + "}", buffer, capacity);
}

// The instruction set that this module computes with; the length of its name.
__attribute__((export_name("tr_cpu_isa"))) int32_t tr_cpu_isa(uint32_t buffer, uint32_t capacity) {
  return copy_out(cpu::isa_name(cpu::best_isa()), buffer, capacity);
}

// 0 if products of random blocks are exact here.
__attribute__((export_name("tr_cpu_selftest"))) int32_t tr_cpu_selftest() {
  return answer(cpu_selftest());
}

// One bucket's plan; those of fewer rows come first.
__attribute__((export_name("tr_cpu_plan"))) int32_t tr_cpu_plan(uint32_t address, uint32_t length) {
  return lent<uint8_t>(address, length,
                       [](auto bytes) { return answer(module().model.plan(bytes)); });
}

// The next param of the plans: a matrix [experts, rows, columns] in a file's format,
__attribute__((export_name("tr_cpu_matrix"))) int32_t tr_cpu_matrix(uint32_t kind, uint32_t length,
                                                                    uint32_t rows, uint32_t columns,
                                                                    uint32_t experts) {
  return lent<char>(kind, length, [&](auto name) {
    const std::string_view text(name.data(), name.size());
    return answer(module().model.loader.matrix(text, rows, columns, experts));
  });
}

// f32 values,
__attribute__((export_name("tr_cpu_vector"))) int32_t tr_cpu_vector(uint32_t count) {
  return answer(module().model.loader.vector(count));
}

// or one that no plan reads.
__attribute__((export_name("tr_cpu_unused"))) int32_t tr_cpu_unused() {
  module().model.loader.unused();
  return 0;
}

// The next bytes of a param, in the file's order.
__attribute__((export_name("tr_cpu_feed"))) int32_t tr_cpu_feed(uint32_t param, uint32_t address,
                                                                uint32_t length) {
  return lent<uint8_t>(address, length, [&](auto bytes) {
    return answer(module().model.loader.feed(param, bytes));
  });
}

// The next layer's KV.
__attribute__((export_name("tr_cpu_state"))) int32_t tr_cpu_state(uint32_t heads, uint32_t size) {
  module().model.state(heads, size);
  return 0;
}

// Everything is there: takes so many KV pages and binds the plans.
__attribute__((export_name("tr_cpu_start"))) int32_t tr_cpu_start(uint32_t pages) {
  return answer(module().model.start(pages));
}

#if defined(__wasm_atomics__)
// What the threads of the page do: each runs one worker of the plans, on a stack that it brings.
__attribute__((export_name("tr_cpu_work"))) void tr_cpu_work(uint32_t worker) {
  module().model.work(worker);
}

// A worker has failed: nothing waits for it any more.
__attribute__((export_name("tr_cpu_stop"))) void tr_cpu_stop() {
  module().model.stop();
}
#endif

// Words: tokens T, sequences S, wanted R, table width L; ids [T], pos [T], slots [T], starts [S+1],
// lens [S], table [S][L], rows [R].
__attribute__((export_name("tr_cpu_step"))) int32_t tr_cpu_step(uint32_t address, uint32_t count) {
  return lent<int32_t>(address, count, [](auto given) {
    Words words(given);
    cpu::Batch batch;
    batch.tokens = words.number();
    batch.sequences = words.number();
    batch.wanted = words.number();
    batch.table_width = words.number();
    batch.ids = words.array(batch.tokens);
    batch.pos = words.array(batch.tokens);
    batch.slots = words.array(batch.tokens);
    batch.starts = words.array(uint64_t{batch.sequences} + 1);
    batch.lens = words.array(batch.sequences);
    batch.table = words.array(uint64_t{batch.sequences} * batch.table_width);
    batch.rows = words.array(batch.wanted);
    if (!words.empty()) return answer(invalid_request("batch", "has words left over"));
    return answer(module().model.step(std::move(batch)));
  });
}

// Draws a token from a row of the last step's logits; docs of the words: wasm_cpu_draw.cc.
__attribute__((export_name("tr_cpu_sample"))) int32_t tr_cpu_sample(uint32_t address,
                                                                    uint32_t count, uint32_t out,
                                                                    uint32_t room) {
  return lent<int32_t>(out, room, [&](auto told) {
    return lent<int32_t>(address, count, [&](auto words) {
      const std::span<int32_t> to(reinterpret_cast<int32_t*>(out), told.size());
      return answer(draw(module().model, module().scratch, words, to));
    });
  });
}

// The address of the logits of a wanted row of the last step; 0 if there is none.
__attribute__((export_name("tr_cpu_logits"))) uint32_t tr_cpu_logits(uint32_t row) {
  return reinterpret_cast<uint32_t>(module().model.logits(row).data());
}

// Elements of a hidden state; 0 if the plans have none.
__attribute__((export_name("tr_cpu_width"))) uint32_t tr_cpu_width() {
  return static_cast<uint32_t>(module().model.width());
}

// The hidden state after the last norm, of a wanted row of the last step: f32 at `out`.
__attribute__((export_name("tr_cpu_hidden"))) int32_t tr_cpu_hidden(uint32_t row, uint32_t out,
                                                                    uint32_t width) {
  return lent<float>(out, width, [&](auto told) {
    const std::span<float> to(reinterpret_cast<float*>(out), told.size());
    return answer(module().model.hidden(row, to));
  });
}

// Copies a KV page in every layer.
__attribute__((export_name("tr_cpu_copy_page"))) int32_t tr_cpu_copy_page(uint32_t from,
                                                                          uint32_t to) {
  return answer(module().model.copy_page(from, to));
}

}  // extern "C"

}  // namespace treadle::wasm
