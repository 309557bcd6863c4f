#include "bind/python_timer.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <cstring>
#include <string>
#include <tuple>
#include <utility>

#include "bind/python_error.h"
#include "timer/clock.h"
#include "timer/guard.h"
#include "timer/memory.h"
#include "timer/word.h"

namespace nb = nanobind;

namespace treadle {

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// The words of a control page: a view of shared memory that keeps its buffer alive.
class Words {
 public:
  explicit Words(WritableBytes page) : page_(std::move(page)) {
    if (reinterpret_cast<uintptr_t>(page_.data()) % alignof(Word) || page_.size() < sizeof(Word)) {
      raise(invalid_request("page", "words need 64 aligned bytes each; map a page"));
    }
  }

  size_t count() const { return page_.size() / sizeof(Word); }

  Word& at(size_t index) const {
    if (index >= count()) {
      raise(invalid_request("word", std::to_string(index) + " of " + std::to_string(count())));
    }
    return reinterpret_cast<Word*>(page_.data())[index];
  }

 private:
  WritableBytes page_;
};

std::pair<int64_t, uint64_t> wait(const Words& words, size_t index, uint64_t old, int64_t spin_ns,
                                  int64_t timeout_ns) {
  Word& word = words.at(index);
  nb::gil_scoped_release release;
  const Seen seen = await_change(word, old, spin_ns, timeout_ns);
  return {seen.at, seen.value};
}

std::tuple<int64_t, int64_t, uint64_t> timed_call(const Words& words, size_t go, uint64_t value,
                                                  size_t done, uint64_t old, int64_t spin_ns,
                                                  int64_t timeout_ns) {
  Word& first = words.at(go);
  Word& second = words.at(done);
  nb::gil_scoped_release release;
  const Interval found = call(first, value, second, old, spin_ns, timeout_ns);
  return {found.start, found.end.at, found.end.value};
}

void copy(WritableBytes target, Bytes source) {
  if (target.size() != source.size()) {
    raise(invalid_request("source", "has another size than the target"));
  }
  nb::gil_scoped_release release;
  std::memcpy(target.data(), source.data(), source.size());
}

size_t count_differing(Bytes first, Bytes second) {
  if (first.size() != second.size()) {
    raise(invalid_request("second", "has another size than the first"));
  }
  nb::gil_scoped_release release;
  return differing(first.data(), second.data(), first.size());
}

}  // namespace

void bind_timer(nb::module_& module) {
  module.def("clock_ns", &clock_ns, "Monotonic nanoseconds.");
  module.def("clock_step_ns", &clock_step_ns, "Smallest step of the clock, in nanoseconds.");
  module.def(
      "flush_lines",
      [](Bytes data) {
        nb::gil_scoped_release release;
        return flush_lines(data.data(), data.size());
      },
      nb::arg("data"), "Drops bytes from every cache; False where the processor cannot.");
  module.def(
      "digest",
      [](Bytes data) {
        nb::gil_scoped_release release;
        return digest(data.data(), data.size());
      },
      nb::arg("data"), "A 64-bit hash, for comparing two states of a buffer.");
  module.def("copy_bytes", &copy, nb::arg("target"), nb::arg("source"), "memcpy.");
  module.def("differing", &count_differing, nb::arg("first"), nb::arg("second"),
             "Bytes that differ.");
  nb::class_<Words>(module, "Words", "64-bit words in shared memory, one a cache line.")
      .def(nb::init<WritableBytes>(), nb::arg("page"))
      .def("__len__", &Words::count)
      .def(
          "load", [](const Words& words, size_t index) { return words.at(index).value.load(); },
          nb::arg("word"))
      .def(
          "beat", [](const Words& words, size_t index) { return words.at(index).beat.load(); },
          nb::arg("word"), "Moves while somebody spins on the word.")
      .def(
          "post",
          [](const Words& words, size_t index, uint64_t value) { post(words.at(index), value); },
          nb::arg("word"), nb::arg("value"), "Stores a value and wakes who sleeps on the word.")
      .def(
          "nudge", [](const Words& words, size_t index) { nudge(words.at(index)); },
          nb::arg("word"), "Wakes who sleeps on the word without changing it.")
      .def("wait", &wait, nb::arg("word"), nb::arg("old"), nb::arg("spin_ns"),
           nb::arg("timeout_ns"), "(clock, value) once the word left `old`; clock -1: time is up.")
      .def("call", &timed_call, nb::arg("go"), nb::arg("value"), nb::arg("done"), nb::arg("old"),
           nb::arg("spin_ns"), nb::arg("timeout_ns"),
           "Posts and waits for the answer: (start, end or -1, value seen).")
      .def(
          "guard",
          [](const Words& words, size_t fault, size_t detail, Bytes inputs) {
            return guard(words.at(fault), words.at(detail), inputs.data(), inputs.size());
          },
          nb::arg("fault"), nb::arg("detail"), nb::arg("inputs"),
          "Writes down what kills this process; `inputs` is its read-only memory.");
}

}  // namespace treadle
