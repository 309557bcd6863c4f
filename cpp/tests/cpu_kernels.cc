// Every instruction set of this machine against the scalar one, bit for bit, and the scalar one
// against plain double arithmetic: dots of every kind at odd shapes, any tile, any split; norm,
// rotation, gates, quantisation; attention over pages.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/half.h"
#include "cpu/kernels.h"

using namespace treadle;
using namespace treadle::cpu;
using namespace treadle::test;

namespace {

float uniform(Random& random) {
  return static_cast<float>(random.below(2'000'001)) / 1e6f - 1.0f;
}

std::vector<float> floats(Random& random, size_t count) {
  std::vector<float> out(count);
  for (float& x : out) x = uniform(random);
  return out;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

// Random quants with scales that are finite halves.
std::vector<uint8_t> weights(Random& random, Kind kind, size_t rows, size_t columns) {
  const KindInfo& info = kind_info(kind);
  std::vector<uint8_t> out(rows * (columns / info.block) * info.block_bytes);
  if (kind == Kind::f32) {
    const std::vector<float> values = floats(random, rows * columns);
    std::memcpy(out.data(), values.data(), out.size());
    return out;
  }
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random.below(256));
  const auto put = [&](size_t at) {
    const float value = uniform(random) / 8;
    uint16_t half = narrow_half(value);
    if (kind == Kind::bf16) half = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    std::memcpy(&out[at], &half, 2);
  };
  for (size_t at = 0; at < out.size(); at += info.block_bytes) {
    put(kind == Kind::q6_k ? at + 208 : at);
    if (kind == Kind::q4_1 || kind == Kind::q4_k || kind == Kind::q5_k) put(at + 2);
  }
  return out;
}

std::vector<const Kernels*> variants() {
  std::vector<const Kernels*> out;
  for (size_t i = 0; i < kIsas; ++i) {
    if (const Kernels* k = kernels(static_cast<Isa>(i))) {
      out.push_back(k);
      std::printf("%s ", std::string(isa_name(static_cast<Isa>(i))).c_str());
    }
  }
  std::printf("\n");
  return out;
}

struct Rows {
  std::vector<uint8_t> data;
  Activations view;
};

Rows activations(const Kernels& k, Kind kind, const std::vector<float>& x, size_t columns) {
  Rows out;
  const size_t rows = x.size() / columns;
  const size_t stride = kind_info(kind).integer ? QuantRow::of(columns).bytes() : columns * 4;
  out.data.assign(rows * stride, 0xAA);
  for (size_t i = 0; i < rows; ++i) {
    uint8_t* to = out.data.data() + i * stride;
    if (kind_info(kind).integer) {
      k.quantise(&x[i * columns], columns, to);
    } else {
      std::memcpy(to, &x[i * columns], stride);
    }
  }
  out.view = {out.data.data(), stride, rows};
  return out;
}

void dots(const std::vector<const Kernels*>& all, Kind kind, size_t rows, size_t columns) {
  Random random(rows * 131 + columns + static_cast<size_t>(kind));
  const std::string name = std::string(kind_info(kind).name) + " " + std::to_string(rows) + "x" +
                           std::to_string(columns);
  const std::vector<uint8_t> source = weights(random, kind, rows, columns);
  const Shape shape = make_shape(kind, rows, columns).take();
  std::vector<uint8_t> packed(shape.bytes());
  check(pack(shape, source, 0, shape.strips, packed).ok(), name);
  constexpr size_t tokens = 15;  // tiles of 8, 4, 2 and 1
  const std::vector<float> x = floats(random, tokens * columns);
  const Rows reference_x = activations(*all[0], kind, x, columns);
  std::vector<float> expected(tokens * rows);
  all[0]->matmul[static_cast<size_t>(kind)](shape, packed.data(), 0, shape.strips, reference_x.view,
                                            expected.data(), rows);
  // Against double: the weights widened, the activations as quantised.
  std::vector<float> wide(columns);
  for (size_t r = 0; r < rows; ++r) {
    unpack_row(shape, packed.data(), r, wide.data());
    for (size_t t = 0; t < tokens; ++t) {
      double sum = 0, size = 0;
      for (size_t c = 0; c < columns; ++c) {
        double value = x[t * columns + c];
        if (kind_info(kind).integer) {
          const uint8_t* row = reference_x.view.data + t * reference_x.view.stride;
          float scale;
          const uint8_t* record = row + c / 32 * QuantRow::record;
          std::memcpy(&scale, record + QuantRow::scale, 4);
          const auto q = static_cast<int8_t>(record[c % 32]);
          check(std::fabs(value - scale * q) <= scale * 0.5001, name);
          value = static_cast<double>(scale) * q;
        }
        sum += wide[c] * value;
        size += std::fabs(wide[c] * value);
      }
      check(std::fabs(sum - expected[t * rows + r]) <= 3e-6 * size + 1e-6, name);
    }
  }
  for (const Kernels* k : all) {
    const Rows ours = activations(*k, kind, x, columns);
    check(ours.data == reference_x.data, name + ": quantised rows differ");
    const MatmulFn matmul = k->matmul[static_cast<size_t>(kind)];
    std::vector<float> y(tokens * rows, -1.0f);
    matmul(shape, packed.data(), 0, shape.strips, ours.view, y.data(), rows);
    check(same(y, expected), name + ": variants differ");
    std::fill(y.begin(), y.end(), -1.0f);  // one row of x and one split of the strips at a time
    for (size_t t = 0; t < tokens; ++t) {
      const size_t cut = random.below(static_cast<uint32_t>(shape.strips) + 1);
      const Activations one = {ours.view.data + t * ours.view.stride, ours.view.stride, 1};
      matmul(shape, packed.data(), 0, cut, one, &y[t * rows], rows);
      matmul(shape, packed.data(), cut, shape.strips - cut, one, &y[t * rows], rows);
    }
    check(same(y, expected), name + ": tiles or splits differ");
  }
}

void elementwise(const std::vector<const Kernels*>& all, size_t count) {
  Random random(count);
  const std::vector<float> a = floats(random, count), w = floats(random, count);
  std::vector<float> big = a;
  for (size_t i = 0; i < count; ++i) big[i] = a[i] * (i % 3 ? 6.0f : 120.0f);
  const size_t pairs = count / 2;
  std::vector<float> inverse(pairs), cosines(pairs), sines(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    inverse[i] = std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(pairs));
  }
  rope_table(777, inverse.data(), pairs, 1.25f, cosines.data(), sines.data());
  std::vector<std::vector<float>> first;
  for (const Kernels* k : all) {
    std::vector<std::vector<float>> y(6, std::vector<float>(count));
    k->rmsnorm(a.data(), w.data(), count, 1e-5f, y[0].data());
    k->glu(Gate::silu, big.data(), w.data(), count, y[1].data());
    k->glu(Gate::gelu_tanh, big.data(), w.data(), count, y[2].data());
    k->softcap(big.data(), 30.0f, count, y[3].data());
    k->scale(a.data(), 0.37f, count, y[4].data());
    k->add(y[4].data(), w.data(), count, y[4].data());
    y[5] = a;
    k->rope(y[5].data(), 1, count, count, cosines.data(), sines.data(), pairs);
    if (first.empty()) first = y;
    for (size_t i = 0; i < y.size(); ++i) check(same(y[i], first[i]), "elementwise");
  }
  double square = 0;
  for (float v : a) square += static_cast<double>(v) * v;
  const double root = std::sqrt(square / static_cast<double>(count) + 1e-5);
  for (size_t i = 0; i < count; ++i) {
    const double g = big[i];
    const auto near = [&](double found, double expected, const char* what) {
      check(std::fabs(found - expected) <= 1e-6 + 2e-6 * std::fabs(expected), what);
    };
    near(first[0][i], a[i] / root * w[i], "rmsnorm");
    near(first[1][i], g / (1 + std::exp(-g)) * w[i], "silu");
    const double inner = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
    check(std::fabs(first[2][i] - 0.5 * g * (1 + std::tanh(inner)) * w[i]) <= 2e-5, "gelu");
    check(std::fabs(first[3][i] - 30 * std::tanh(g / 30)) <= 1e-5, "softcap");
    const size_t j = i % pairs;
    if (i >= 2 * pairs) continue;
    const double angle = 777.0f * inverse[j], other = a[i < pairs ? i + pairs : j];
    near(first[5][i],
         1.25 * (a[i] * std::cos(angle) + (i < pairs ? -other : other) * std::sin(angle)), "rope");
  }
}

struct Case {
  size_t group, queries, position, window, size;
  float softcap;
  size_t segment = 256;
};

void attention(const std::vector<const Kernels*>& all, const Case& c) {
  Random random(c.position + c.group);
  const size_t end = c.position + c.queries, pages = (end + kPage - 1) / kPage;
  std::vector<int32_t> table(pages);
  for (size_t i = 0; i < pages; ++i) table[i] = static_cast<int32_t>((i * 7 + 3) % (pages + 2));
  if (pages % 7 == 0 || (pages + 2) % 7 == 0) {
    for (size_t i = 0; i < pages; ++i) table[i] = static_cast<int32_t>(pages - 1 - i);
  }
  const size_t page = 2 * kPage * c.size;
  std::vector<uint16_t> cache((pages + 2) * page, 0x7E00);  // NaN wherever nothing was written
  const KvHead kv = {cache.data(), page, c.size};
  const std::vector<float> keys = floats(random, end * c.size),
                           values = floats(random, end * c.size);
  const size_t heads = c.group + 1;  // an apart from the rows: strides are not sizes
  const std::vector<float> q = floats(random, c.queries * heads * c.size);
  for (size_t p = 0; p < end; ++p) {
    all[p % all.size()]->kv_write(kv, static_cast<size_t>(table[p / kPage]), p % kPage,
                                  &keys[p * c.size], &values[p * c.size]);
  }
  AttentionItem item{.q = q.data(),
                     .query_stride = heads * c.size,
                     .head_stride = c.size,
                     .group = c.group,
                     .rows = c.group * c.queries,
                     .position = c.position,
                     .window = c.window,
                     .scale = 0.5f,
                     .softcap = c.softcap,
                     .segment = c.segment,
                     .kv = kv,
                     .table = table.data()};
  std::vector<float> first;
  for (const Kernels* k : all) {
    std::vector<float> out(q.size(), 0.0f), folded = out, single = out;
    k->attention(item, out.data(), item.query_stride, item.head_stride);
    if (first.empty()) first = out;
    check(same(out, first), "attention: variants differ");
    const size_t from = item.first_segment(), to = item.last_segment();
    const size_t each = c.group * (c.size + 2), stride = c.queries * each;  // as a plan lays it out
    std::vector<float> record((to + 1) * stride, NAN);
    AttentionPartials parts{&record[c.group * c.size], &record[c.group * (c.size + 1)], &record[0],
                            each, stride};
    for (size_t s = to + 1; s-- > from;) {  // any order
      AttentionPartials mine = parts;
      mine.m += s * stride, mine.l += s * stride, mine.o += s * stride;
      k->attend(item, s, mine);
    }
    k->fold(item, parts, folded.data(), item.query_stride, item.head_stride);
    check(same(folded, first), "attention: folded partials differ");
    for (size_t i = 0; i < c.queries; ++i) {  // one query at a time
      AttentionItem one = item;
      one.q += i * item.query_stride;
      one.position += i;
      one.rows = c.group;
      k->attention(one, &single[i * item.query_stride], item.query_stride, item.head_stride);
    }
    check(same(single, first), "attention: chunked prefill differs");
  }
  for (size_t row = 0; row < item.rows; ++row) {
    const size_t at = row / c.group * item.query_stride + row % c.group * c.size;
    std::vector<double> weight(item.end_key(row), 0.0), mixed(c.size, 0.0);
    double total = 0, most = -1e300;
    for (int pass = 0; pass < 2; ++pass) {
      for (size_t p = item.first_key(row); p < item.end_key(row); ++p) {
        double s = 0;
        for (size_t i = 0; i < c.size; ++i) {
          s += q[at + i] * static_cast<double>(widen_half(narrow_half(keys[p * c.size + i])));
        }
        s *= item.scale;
        if (c.softcap != 0) s = c.softcap * std::tanh(s / c.softcap);
        if (pass == 0)
          most = std::max(most, s);
        else
          total += weight[p] = std::exp(s - most);
      }
    }
    for (size_t p = item.first_key(row); p < item.end_key(row); ++p) {
      for (size_t i = 0; i < c.size; ++i) {
        mixed[i] += weight[p] / total *
                    static_cast<double>(widen_half(narrow_half(values[p * c.size + i])));
      }
    }
    for (size_t i = 0; i < c.size; ++i) {
      check(std::fabs(mixed[i] - first[at + i]) < 3e-6, "attention: far from double");
    }
  }
}

void halves(const std::vector<const Kernels*>& all) {
  std::vector<float> values(65536 * 3);
  for (uint32_t i = 0; i < 65536; ++i) {
    const float wide = widen_half(static_cast<uint16_t>(i));
    if (!std::isnan(wide)) check(narrow_half(wide) == i, "half");
    values[3 * i] = wide;
    values[3 * i + 1] = std::nextafter(wide * 1.00048828125f, 0.0f);  // near the tie
    values[3 * i + 2] = wide * 1.00048828125f;
  }
  for (const Kernels* k : all) {
    std::vector<uint16_t> page(2 * kPage * 16);
    const KvHead kv = {page.data(), page.size(), 16};
    for (size_t i = 0; i + 16 <= values.size(); i += 16) {
      k->kv_write(kv, 0, i / 16 % 16, &values[i], &values[i]);
      for (size_t j = 0; j < 16; ++j) {
        const uint16_t expected = narrow_half(values[i + j]);
        check(
            page[j * 16 + i / 16 % 16] == expected && page[256 + i / 16 % 16 * 16 + j] == expected,
            "narrow");
      }
    }
  }
}

}  // namespace

int main() {
  const std::vector<const Kernels*> all = variants();
  for (size_t i = 0; i < kKinds; ++i) {
    const Kind kind = static_cast<Kind>(i);
    if (kind_info(kind).block == 256) {
      dots(all, kind, 37, 768);
      dots(all, kind, 16, 256);
    } else {
      dots(all, kind, 37, 576);
      dots(all, kind, 16, 1536);
      dots(all, kind, 3, kind_info(kind).block == 32 ? 96 : 33);
    }
  }
  for (size_t count : {7, 32, 64, 80, 577}) elementwise(all, count);
  attention(all, {3, 1, 300, 0, 64, 0});
  attention(all, {3, 5, 125, 0, 64, 0});
  attention(all, {1, 9, 0, 0, 32, 0});
  attention(all, {2, 20, 500, 140, 80, 15, 176});
  attention(all, {3, 2, 700, 0, 64, 0, 48});
  attention(all, {8, 3, 40, 7, 16, 0});
  halves(all);
  std::vector<float> row(64, 1.0f);
  row[40] = NAN;
  for (const Kernels* k : all) {
    std::vector<uint8_t> q(QuantRow::of(64).bytes());
    k->quantise(row.data(), 64, q.data());
    float first, second;
    std::memcpy(&first, &q[QuantRow::scale], 4);
    std::memcpy(&second, &q[QuantRow::record + QuantRow::scale], 4);
    check(first == 1.0f / 127 && std::isnan(second), "a NaN stays one");
  }
  check(!make_shape(Kind::q4_k, 16, 576).ok() && !make_shape(Kind::f32, 0, 4).ok(), "refused");
  check(!kind_of("q9").ok() && kind_of("q6_k").ok(), "kinds");
  return report();
}
