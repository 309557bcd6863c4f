#include "bind/python_cpu.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "bind/python_cpu_draw.h"
#include "bind/python_error.h"
#include "cpu/buffer.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "cpu/sample.h"
#include "support/heap.h"

namespace nb = nanobind;

namespace treadle {

namespace {

template <class T, size_t N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

const cpu::Kernels& kernels_of(const std::string& isa) {
  const cpu::Kernels* found = cpu::kernels(unwrap(cpu::isa_of(isa)));
  if (!found) raise(invalid_request("isa", "this machine or build lacks " + isa));
  return *found;
}

cpu::Shape shape_of(const std::string& kind, size_t rows, size_t columns) {
  return unwrap(cpu::make_shape(unwrap(cpu::kind_of(kind)), rows, columns));
}

void expect(bool ok, const char* at, const char* text) {
  if (!ok) raise(invalid_request(at, text));
}

std::vector<std::string> isas() {
  std::vector<std::string> out;
  for (size_t i = 0; i < cpu::kIsas; ++i) {
    const auto isa = static_cast<cpu::Isa>(i);
    if (cpu::kernels(isa)) out.emplace_back(cpu::isa_name(isa));
  }
  return out;
}

// A buffer as a memoryview, for which nobody need load numpy; numpy wraps one without a copy.
template <class T, size_t N>
using View = nb::ndarray<nb::memview, T, nb::ndim<N>>;

std::pair<uint8_t*, nb::capsule> taken(size_t bytes, size_t small = 0) {
  uint8_t* data = cpu::take_buffer(bytes, small);
  if (!data) throw std::bad_alloc();
  return {data, nb::capsule(data, [](void* held) noexcept {
            cpu::give_buffer(static_cast<uint8_t*>(held));
          })};
}

View<uint8_t, 1> buffer(size_t bytes) {
  const auto [data, owner] = taken(bytes);
  return {data, {bytes}, owner};
}

// A page's layers lie side by side: so the memory in use is dense and takes large pages, where each
// layer's own would touch a few small ones here and there. The first of it are small all the same:
// a few turns of a small model fill no large one, and a long context reads hundreds.
nb::list kv_pages(size_t pages, const std::vector<std::pair<size_t, size_t>>& heads) {
  size_t row = 0;
  for (const auto& [count, size] : heads) row += count * 2 * cpu::kPage * size;
  const auto [data, owner] = taken(sizeof(uint16_t) * pages * row, 1);
  auto* at = reinterpret_cast<uint16_t*>(data);
  nb::list out;
  for (const auto& [count, size] : heads) {
    const size_t each = 2 * cpu::kPage * size, shape[] = {pages, count, each};
    const int64_t strides[] = {static_cast<int64_t>(row), static_cast<int64_t>(each), 1};
    out.append(nb::cast(View<uint16_t, 3>(at, 3, shape, owner, strides)));
    at += count * each;
  }
  return out;
}

void pack(const std::string& kind, size_t rows, size_t columns, Array<const uint8_t, 1> data,
          Array<uint8_t, 1> out, size_t first, size_t count) {
  const cpu::Shape shape = shape_of(kind, rows, columns);
  const size_t strips = std::min(count, shape.strips - std::min(first, shape.strips));
  Status status;
  {
    nb::gil_scoped_release release;
    status = cpu::pack(shape, {data.data(), data.size()}, first, strips, {out.data(), out.size()});
  }
  if (!status.ok()) raise(status);
}

void unpack(const std::string& kind, size_t rows, size_t columns, Array<const uint8_t, 1> packed,
            size_t row, Array<float, 1> out) {
  const cpu::Shape shape = shape_of(kind, rows, columns);
  expect(packed.size() == shape.bytes(), "packed", "has another size than the shape needs");
  expect(row < rows && out.size() == columns, "row", "is outside, or `out` is no row");
  cpu::unpack_row(shape, packed.data(), row, out.data());
}

std::vector<uint8_t> activations(const cpu::Kernels& k, bool integer, const float* x, size_t rows,
                                 size_t columns, cpu::Activations& view) {
  std::vector<uint8_t> held;
  view = {reinterpret_cast<const uint8_t*>(x), columns * sizeof(float), rows};
  if (!integer) return held;
  view.stride = cpu::QuantRow::of(columns).bytes();
  held.resize(rows * view.stride);
  for (size_t i = 0; i < rows; ++i) k.quantise(x + i * columns, columns, &held[i * view.stride]);
  view.data = held.data();
  return held;
}

// y += nothing: y = x W^T for strips first .. first + count, `times` times over.
void matmul(const std::string& isa, const std::string& kind, size_t rows, size_t columns,
            Array<const uint8_t, 1> packed, Array<const float, 2> x, Array<float, 2> y,
            size_t first, size_t count, size_t times) {
  const cpu::Kernels& k = kernels_of(isa);
  const cpu::Shape shape = shape_of(kind, rows, columns);
  expect(packed.size() == shape.bytes(), "packed", "has another size than the shape needs");
  expect(x.shape(1) == columns && y.shape(1) == rows && y.shape(0) == x.shape(0), "x",
         "and y must be [tokens, columns] and [tokens, rows]");
  first = std::min(first, shape.strips);
  count = std::min(count, shape.strips - first);
  nb::gil_scoped_release release;
  cpu::Activations view{};
  const std::vector<uint8_t> held =
      activations(k, cpu::kind_info(shape.kind).integer, x.data(), x.shape(0), columns, view);
  for (size_t i = 0; i < times; ++i) {
    k.matmul[static_cast<size_t>(shape.kind)](shape, packed.data(), first, count, view, y.data(),
                                              rows);
  }
}

uint64_t read_bytes(const std::string& isa, Array<const uint8_t, 1> data, size_t times) {
  const cpu::Kernels& k = kernels_of(isa);
  nb::gil_scoped_release release;
  uint64_t out = 0;
  for (size_t n = 0; n < times; ++n) out += k.read(data.data(), data.size());
  return out;
}

void rmsnorm(const std::string& isa, Array<const float, 2> x, Array<const float, 1> w, float eps,
             Array<float, 2> y) {
  expect(x.shape(1) == w.size() && y.shape(0) == x.shape(0) && y.shape(1) == w.size(), "x",
         "w and y must agree");
  for (size_t i = 0; i < x.shape(0); ++i) {
    kernels_of(isa).rmsnorm(x.data() + i * w.size(), w.data(), w.size(), eps,
                            y.data() + i * w.size());
  }
}

void glu(const std::string& isa, const std::string& act, Array<const float, 1> g,
         Array<const float, 1> u, Array<float, 1> y) {
  expect(g.size() == u.size() && g.size() == y.size(), "g", "u and y must agree");
  expect(act == "silu" || act == "gelu_tanh", "act", "is neither silu nor gelu_tanh");
  kernels_of(isa).glu(act == "silu" ? cpu::Gate::silu : cpu::Gate::gelu_tanh, g.data(), u.data(),
                      g.size(), y.data());
}

void rope(const std::string& isa, Array<float, 3> x, Array<const int32_t, 1> pos,
          Array<const float, 1> freq, float mscale) {
  expect(pos.size() == x.shape(0) && 2 * freq.size() <= x.shape(2), "x",
         "is [tokens, heads, size] with size >= 2 pairs");
  std::vector<float> cosines(freq.size()), sines(freq.size());
  for (size_t t = 0; t < pos.size(); ++t) {
    cpu::rope_table(pos.data()[t], freq.data(), freq.size(), mscale, cosines.data(), sines.data());
    kernels_of(isa).rope(x.data() + t * x.shape(1) * x.shape(2), x.shape(1), x.shape(2), x.shape(2),
                         cosines.data(), sines.data(), freq.size());
  }
}

// kv [pages, kv_heads, 2 * 16 * size]; k, v [tokens, kv_heads, size].
void kv_write(const std::string& isa, Array<uint16_t, 3> kv, Array<const float, 3> k,
              Array<const float, 3> v, Array<const int32_t, 1> slots) {
  const size_t heads = kv.shape(1), size = k.shape(2);
  expect(k.shape(1) == heads && kv.shape(2) == 2 * cpu::kPage * size && size % 16 == 0 &&
             v.shape(0) == k.shape(0) && v.shape(1) == heads && v.shape(2) == size &&
             slots.size() == k.shape(0),
         "kv", "k, v and slots must agree");
  for (size_t t = 0; t < slots.size(); ++t) {
    const int32_t slot = slots.data()[t];
    expect(slot >= 0 && static_cast<size_t>(slot) < kv.shape(0) * cpu::kPage, "slots",
           "name a page that is not there");
    for (size_t h = 0; h < heads; ++h) {
      const cpu::KvHead head = {kv.data() + h * kv.shape(2), heads * kv.shape(2), size};
      kernels_of(isa).kv_write(
          head, static_cast<size_t>(slot) / cpu::kPage, static_cast<size_t>(slot) % cpu::kPage,
          k.data() + (t * heads + h) * size, v.data() + (t * heads + h) * size);
    }
  }
}

// One sequence: q [tokens, heads, size], its last tokens; table: its pages.
void attention(const std::string& isa, Array<const float, 3> q, Array<uint16_t, 3> kv,
               Array<const int32_t, 1> table, size_t position, float scale, size_t window,
               float softcap, size_t segment, Array<float, 3> out) {
  const size_t heads = q.shape(1), size = q.shape(2), kv_heads = kv.shape(1);
  expect(size % 16 == 0 && size <= cpu::kMaxHead && kv.shape(2) == 2 * cpu::kPage * size &&
             kv_heads > 0 && heads % kv_heads == 0,
         "q", "and kv must agree; head sizes are multiples of 16 up to 256");
  expect(out.size() == q.size() && segment % cpu::kPage == 0 && segment > 0, "out",
         "is as q, and a segment whole pages");
  expect(table.size() * cpu::kPage >= position + q.shape(0), "table", "has too few pages");
  for (size_t i = 0; i < table.size(); ++i) {
    expect(table.data()[i] >= 0 && static_cast<size_t>(table.data()[i]) < kv.shape(0), "table",
           "names a page that is not there");
  }
  const size_t group = heads / kv_heads;
  for (size_t h = 0; h < kv_heads; ++h) {
    const cpu::AttentionItem item{
        .q = q.data() + h * group * size,
        .query_stride = heads * size,
        .head_stride = size,
        .group = group,
        .rows = group * q.shape(0),
        .position = position,
        .window = window,
        .scale = scale,
        .softcap = softcap,
        .segment = segment,
        .kv = {kv.data() + h * kv.shape(2), kv_heads * kv.shape(2), size},
        .table = table.data(),
    };
    kernels_of(isa).attention(item, out.data() + h * group * size, heads * size, size);
  }
}

// Rows of a file in which the pairs of each head lie interleaved (x0 y0 x1 y1 ..): put back to
// halves (x0 x1 .. y0 y1 ..).
void halves(Array<const uint8_t, 2> rows, size_t heads, Array<uint8_t, 2> out) {
  const size_t count = rows.shape(0), bytes = rows.shape(1);
  expect(heads > 0 && count % (2 * heads) == 0 && out.shape(0) == count && out.shape(1) == bytes,
         "rows", "are pairs of each head, and `out` has as many");
  const size_t each = count / heads;
  for (size_t i = 0; i < count; ++i) {
    const size_t head = i / each, at = i % each;
    const size_t to = head * each + at % 2 * (each / 2) + at / 2;
    std::memcpy(out.data() + to * bytes, rows.data() + i * bytes, bytes);
  }
}

int64_t best_token(Array<const float, 1> logits, nb::object mask) {
  if (mask.is_none()) return cpu::best_token(logits.data(), logits.size(), nullptr);
  const auto bits = nb::cast<Array<const int32_t, 1>>(mask);
  expect(bits.size() * 32 >= logits.size(), "mask", "is shorter than the logits");
  return cpu::best_token(logits.data(), logits.size(),
                         reinterpret_cast<const uint32_t*>(bits.data()));
}

}  // namespace

void bind_cpu(nb::module_& module) {
  module.def("cpu_isas", &isas, "Instruction sets this build and machine offer, worst first.");
  module.def("cpu_processors", &cpu::usable_processors,
             "Processors of the affinity mask, cut by the cgroup's quota.");
  module.def(
      "cpu_packed_bytes",
      [](const std::string& kind, size_t rows, size_t columns) {
        return shape_of(kind, rows, columns).bytes();
      },
      nb::arg("kind"), nb::arg("rows"), nb::arg("columns"), "Bytes of a packed matrix.");
  module.def("cpu_buffer", &buffer, nb::arg("bytes"),
             "Uninitialised bytes on a page of their own, in large pages where there are any: for "
             "packed weights and KV pages.");
  module.def("give_back_heap", &give_back_heap,
             "Memory that was freed goes back to the system, as far as the C library can.");
  module.def(
      "keep_heap_small", &keep_heap_small,
      "From now on all threads share one heap that keeps little of what is free: for a process "
      "that serves one user.");
  module.def("cpu_kv_pages", &kv_pages, nb::arg("pages"), nb::arg("heads"),
             "KV pages of layers with (heads, size): float16 bits [pages, heads, 2 * 16 * size] of "
             "each, K before V, all in one buffer.");
  module.def("cpu_pack", &pack, nb::arg("kind"), nb::arg("rows"), nb::arg("columns"),
             nb::arg("data"), nb::arg("out"), nb::arg("first") = 0, nb::arg("count") = SIZE_MAX,
             "Packs strips of 16 rows from rows as they lie in a file; the GIL is released.");
  module.def("cpu_halves", &halves, nb::arg("rows"), nb::arg("heads"), nb::arg("out"),
             "Rows [n, bytes] whose pairs lie interleaved in each head, put back to halves.");
  module.def("cpu_unpack_row", &unpack, nb::arg("kind"), nb::arg("rows"), nb::arg("columns"),
             nb::arg("packed"), nb::arg("row"), nb::arg("out"), "One row of a packed matrix, f32.");
  module.def("cpu_matmul", &matmul, nb::arg("isa"), nb::arg("kind"), nb::arg("rows"),
             nb::arg("columns"), nb::arg("packed"), nb::arg("x"), nb::arg("y"),
             nb::arg("first") = 0, nb::arg("count") = SIZE_MAX, nb::arg("times") = 1,
             "y [T, rows] = x [T, columns] times the strips' rows; x is quantised where needed.");
  module.def("cpu_read", &read_bytes, nb::arg("isa"), nb::arg("data"), nb::arg("times") = 1,
             "Reads every byte: the bandwidth that a dot is measured against.");
  module.def("cpu_rmsnorm", &rmsnorm, nb::arg("isa"), nb::arg("x"), nb::arg("w"), nb::arg("eps"),
             nb::arg("y"), "y = x / sqrt(mean(x^2) + eps) * w.");
  module.def("cpu_glu", &glu, nb::arg("isa"), nb::arg("act"), nb::arg("g"), nb::arg("u"),
             nb::arg("y"), "y = act(g) * u.");
  module.def("cpu_rope", &rope, nb::arg("isa"), nb::arg("x"), nb::arg("pos"), nb::arg("freq"),
             nb::arg("mscale"), "Half-split rotation in place.");
  module.def("cpu_kv_write", &kv_write, nb::arg("isa"), nb::arg("kv"), nb::arg("k"), nb::arg("v"),
             nb::arg("slots"), "Appends to pages [P, K, 2 * 16 * d] of f16.");
  module.def("cpu_attention", &attention, nb::arg("isa"), nb::arg("q"), nb::arg("kv"),
             nb::arg("table"), nb::arg("position"), nb::arg("scale"), nb::arg("window"),
             nb::arg("softcap"), nb::arg("segment"), nb::arg("out"),
             "Attention of one sequence's last tokens, the first of them at `position`.");
  module.def("cpu_best_token", &best_token, nb::arg("logits"), nb::arg("mask").none(),
             "The greatest legal logit, ties to the lowest id; -1 if none is legal.");
  bind_cpu_draw(module);
  bind_cpu_runner(module);
}

}  // namespace treadle
