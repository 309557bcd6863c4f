// What task bodies ask of the machine, on any host: every CUDA thread is a fiber, copies land late.
//
// The whole kernel runs unchanged in one thread of the host, all workers interleaved in an order
// that a seed decides, so that indices, sums and the protocol are tested without a GPU. Blocking
// primitives give way to the other fibers until what they wait for has happened.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#define TM_DEVICE inline
#define TM_COLD inline
#define TM_BOTH inline

struct uint4 {
  uint32_t x, y, z, w;
};
struct int2 {
  int32_t x, y;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
  return {x, y, z, w};
}

namespace treadle::mega {
namespace host {

constexpr int kThreads = 320, kStack = 64 << 10;

struct Copy {
  unsigned char* to;
  const unsigned char* from;
  uint32_t bytes;
  uint64_t* bar;
};
struct Fiber {
  jmp_buf at;
  ucontext_t first;
  std::unique_ptr<unsigned char[]> stack;
  int worker = 0, thread = 0;
  bool started = false, done = false;
  std::vector<Copy> copies;  // that have not been told where to arrive
};
struct Warp {  // one exchange at a time; two sets of slots, so that a slow lane still reads the
               // last
  uint4 a[2][32];
  uint64_t b[2][32];
  uint32_t arrived = 0, turn = 0;
};
struct Barrier {
  int arrived = 0;
  uint32_t turn = 0;
};
struct Cta {
  std::unique_ptr<unsigned char[]> memory;
  unsigned char* base = nullptr;
  Warp warps[kThreads / 32];
  Barrier bars[16];
};
struct Machine {
  std::vector<Fiber> fibers;
  std::vector<Cta> ctas;
  std::vector<Copy> copies;
  std::function<void(int)> body;
  int workers = 0;  // of a rank
  jmp_buf home;
  Fiber* now = nullptr;
  bool failed = false;
  // Here and not in the loop's function, whose locals a jump home may lose.
  size_t left = 0, at = 0;
  uint64_t round = 0;
};
inline Machine* machine = nullptr;

inline void yield() {
  if (_setjmp(machine->now->at) == 0) _longjmp(machine->home, 1);
}
inline Cta& cta() {
  return machine->ctas[machine->now->worker];
}
inline Warp& warp() {
  return cta().warps[machine->now->thread / 32];
}
inline int lane() {
  return machine->now->thread % 32;
}

/// Every lane gives a and b; returns which set of slots holds all 32.
inline int meet(uint4 a, uint64_t b) {
  Warp& w = warp();
  const uint32_t turn = w.turn;
  const int set = static_cast<int>(turn & 1);
  w.a[set][lane()] = a;
  w.b[set][lane()] = b;
  if (++w.arrived == 32) {
    w.arrived = 0;
    w.turn++;
  }
  while (w.turn == turn) yield();
  return set;
}

// A barrier word: bit 0 phase, 1-15 arrivals left, 16-30 arrivals a phase, 32-63 bytes to come.
struct Word {
  uint32_t phase, left, count;
  int32_t bytes;
};
inline Word read(const uint64_t* b) {
  return {static_cast<uint32_t>(*b & 1), static_cast<uint32_t>(*b >> 1 & 0x7fff),
          static_cast<uint32_t>(*b >> 16 & 0x7fff), static_cast<int32_t>(*b >> 32)};
}
inline void write(uint64_t* b, Word w) {
  if (w.left == 0 && w.bytes == 0) {
    w.phase ^= 1;
    w.left = w.count;
  }
  *b = w.phase | static_cast<uint64_t>(w.left) << 1 | static_cast<uint64_t>(w.count) << 16 |
       static_cast<uint64_t>(static_cast<uint32_t>(w.bytes)) << 32;
}
inline void land(const Copy& c) {
  std::memcpy(c.to, c.from, c.bytes);
  Word w = read(c.bar);
  w.bytes -= static_cast<int32_t>(c.bytes);
  write(c.bar, w);
}
inline void enter() {
  machine->body(machine->now->worker / machine->workers);
  machine->now->done = true;
  _longjmp(machine->home, 1);
}

/// Runs a kernel on so many workers of each rank; body(rank) is what they all do. False if a
/// bounded wait ended, or nobody could go on.
inline bool run(int ranks, int workers, size_t memory, uint64_t seed,
                std::function<void(int)> body) {
  Machine m;
  machine = &m;
  m.body = std::move(body);
  m.workers = workers;
  m.ctas.resize(static_cast<size_t>(ranks) * workers);
  for (auto& c : m.ctas) {
    c.memory.reset(new unsigned char[memory + 128]);
    std::memset(c.memory.get(), 0xff, memory + 128);  // NaN wherever nobody wrote
    c.base = c.memory.get() + (128 - reinterpret_cast<uintptr_t>(c.memory.get()) % 128) % 128;
  }
  m.fibers.resize(m.ctas.size() * kThreads);
  std::mt19937_64 random(seed);
  std::vector<int> order(m.fibers.size());
  for (size_t i = 0; i < m.fibers.size(); i++) {
    Fiber& f = m.fibers[i];
    f.worker = static_cast<int>(i) / kThreads;
    f.thread = static_cast<int>(i) % kThreads;
    f.stack.reset(new unsigned char[kStack]);
    getcontext(&f.first);
    f.first.uc_stack.ss_sp = f.stack.get();
    f.first.uc_stack.ss_size = kStack;
    makecontext(&f.first, enter, 0);
    order[i] = static_cast<int>(i);
  }
  m.left = m.fibers.size();
  for (; m.left > 0 && !m.failed; m.round++) {
    if (m.round % 16 == 0) std::shuffle(order.begin(), order.end(), random);
    for (m.at = 0; m.at < order.size() && !m.failed; m.at++) {
      m.now = &m.fibers[order[m.at]];
      if (m.now->done) continue;
      if (_setjmp(m.home) == 0) {
        if (m.now->started) _longjmp(m.now->at, 1);
        m.now->started = true;
        setcontext(&m.now->first);
      }
      if (m.now->done) m.left--;
    }
    std::vector<Copy> kept;
    for (const Copy& c : m.copies) {
      if (random() % 3 == 0)
        kept.push_back(c);
      else
        land(c);
    }
    m.copies = kept;
  }
  machine = nullptr;
  return !m.failed;
}

}  // namespace host

inline int thread() {
  return host::machine->now->thread;
}
inline int worker() {
  return host::machine->now->worker % host::machine->workers;
}
inline unsigned char* shared_memory() {
  return host::cta().base;
}
inline uint32_t address_of(const void* p) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(p) - shared_memory());
}
inline uint32_t clock_now() {  // a microsecond a look: bounds waits, and orders all fibers' marks
  static uint32_t t = 0;
  return t += 1000;
}
inline uint64_t now_ns() {
  return clock_now();
}
inline int fresh(int x) {
  return x;
}
template <class T>
T* fresh(T* p) {
  return p;
}
template <class T>
T& fresh_shared(T& x) {
  return x;
}
inline void pause() {
  host::yield();
}
[[noreturn]] inline void die() {
  host::machine->failed = true;
  for (;;) host::yield();
}
[[noreturn]] inline void leave() {
  die();
}
inline bool claim(uint32_t* word) {
  const uint32_t old = *word;
  *word = 1;
  return old == 0;
}
inline void fence_system() {}
inline uint32_t load_acquired(const uint32_t* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
inline uint32_t load_foreign(const uint32_t* p) {
  return __atomic_load_n(p, __ATOMIC_RELAXED);
}
inline void fence_grid() {}
inline void fence_copies() {}
inline void fence_shared_copies() {}
inline void mb_init(uint64_t* b, uint32_t count) {
  *b = static_cast<uint64_t>(count) << 1 | static_cast<uint64_t>(count) << 16;
}
inline void mb_publish() {}
inline void mb_expect(uint64_t* b, uint32_t bytes) {
  host::Word w = host::read(b);
  w.bytes += static_cast<int32_t>(bytes);
  w.left--;
  host::write(b, w);
}
inline void mb_arrive(uint64_t* b) {
  host::Word w = host::read(b);
  w.left--;
  host::write(b, w);
}
inline void mb_arrive_for(uint64_t* b, uint32_t count) {
  host::Word w = host::read(b);
  w.left -= count;
  host::write(b, w);
}
inline bool mb_try(uint64_t* b, uint32_t parity) {
  return host::read(b).phase != parity;
}
inline void bar(int id, int count, bool wait) {
  host::Barrier& b = host::cta().bars[id];
  const uint32_t turn = b.turn;
  if (++b.arrived == count) {
    b.arrived = 0;
    b.turn++;
  }
  while (wait && b.turn == turn) host::yield();
}
inline void bar_all() {
  bar(0, host::kThreads, true);
}
inline void bar_sync(int id) {
  bar(id, 256, true);
}
inline void bar_arrive(int id) {
  bar(id, 256, false);
}
inline uint64_t evict_first() {
  return 0;
}
inline void bulk(void* to, const void* from, uint32_t bytes, uint64_t* b) {
  host::machine->copies.push_back(
      {static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), bytes, b});
}
inline void bulk(void* to, const void* from, uint32_t bytes, uint64_t* b, uint64_t) {
  bulk(to, from, bytes, b);
}
inline void copy_some(void* to, const void* from) {
  host::machine->now->copies.push_back(
      {static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), 16, nullptr});
}
inline void copies_arrive(uint64_t* b) {
  auto& mine = host::machine->now->copies;
  host::Word w = host::read(b);
  w.left--;
  for (host::Copy& c : mine) {
    w.bytes += 16;
    c.bar = b;
    host::machine->copies.push_back(c);
  }
  mine.clear();
  host::write(b, w);
}
inline void add_counted(uint32_t* p, uint32_t n) {
  *p += n;
}
inline uint32_t load_count(const uint32_t* p) {
  return *p;
}
inline void prefetch_kept(const void*, uint32_t) {}
inline uint64_t evict_last() {
  return 0;
}
inline void load_kept(const float* p, uint64_t, float& x, float& y) {
  x = p[0];
  y = p[1];
}
inline float load_one(const float* p) {
  return *p;
}
inline uint4 load_packet(const uint4* p) {
  return *p;
}
inline void store_packet(uint4* p, uint4 v) {
  *p = v;
}
inline uint4 load_packet_far(const uint4* p) {
  return *p;
}
inline void store_packet_far(uint4* p, uint4 v) {
  *p = v;
}
template <class T>
T load_constant(const T* p) {
  return *p;
}
inline void warp_sync() {
  host::meet({}, 0);
}
inline bool warp_any(bool x) {
  const int set = host::meet({}, x);
  bool any = false;
  for (uint64_t v : host::warp().b[set]) any |= v != 0;
  return any;
}
template <class T>
T shfl(T v, int lane) {
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  const int set = host::meet({}, bits);
  std::memcpy(&v, &host::warp().b[set][lane & 31], sizeof v);
  return v;
}
template <class T>
T shfl_xor(T v, int mask) {
  return shfl(v, host::lane() ^ mask);
}
inline uint32_t warp_max(uint32_t x) {
  for (int m = 16; m; m >>= 1) x = std::max(x, shfl_xor(x, m));
  return x;
}
inline uint32_t warp_min(uint32_t x) {
  for (int m = 16; m; m >>= 1) x = std::min(x, shfl_xor(x, m));
  return x;
}
inline int ones(uint32_t x) {
  return __builtin_popcount(x);
}
inline float low(uint32_t pair) {
  pair <<= 16;
  float x;
  std::memcpy(&x, &pair, 4);
  return x;
}
inline float high(uint32_t pair) {
  return low(pair >> 16);
}
inline uint32_t merged(uint32_t x, uint32_t mask, uint32_t bits) {
  return (x & mask) | bits;
}
inline float half_low(uint32_t pair) {
  const int exponent = static_cast<int>(pair >> 10 & 31), bits = static_cast<int>(pair & 1023);
  const float x = exponent == 31 ? (bits ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(exponent ? bits + 1024 : bits),
                                              (exponent ? exponent : 1) - 25);
  return pair & 0x8000u ? -x : x;
}
inline float half_high(uint32_t pair) {
  return half_low(pair >> 16);
}
inline uint32_t bits_of(float x) {
  uint32_t r;
  std::memcpy(&r, &x, 4);
  return r;
}
inline float float_of(uint32_t x) {
  float r;
  std::memcpy(&r, &x, 4);
  return r;
}
inline uint32_t pair_of(float a, float b) {
  auto half = [](float x) {
    const uint32_t u = bits_of(x);
    return x != x ? 0x7fffu : (u + 0x7fff + (u >> 16 & 1)) >> 16;
  };
  return half(a) | half(b) << 16;
}
inline uint32_t pair_minus(uint32_t x, uint32_t y) {
  return pair_of(low(x) - low(y), high(x) - high(y));
}
inline uint32_t pair_times(uint32_t x, uint32_t y) {
  return pair_of(low(x) * low(y), high(x) * high(y));
}
inline void mma(float (&c)[4], uint4 a, uint32_t b0, uint32_t b1) {
  const int set = host::meet(a, b0 | static_cast<uint64_t>(b1) << 32);
  const host::Warp& w = host::warp();
  const int g = host::lane() / 4, t = host::lane() % 4;
  for (int i = 0; i < 4; i++) {
    const int n = 2 * t + i % 2;
    for (int k = 0; k < 16; k++) {
      const uint4& from = w.a[set][g * 4 + k % 8 / 2];
      const uint32_t regs[4] = {from.x, from.y, from.z, from.w};
      const uint32_t left = regs[(k >= 8 ? 2 : 0) + (i >= 2 ? 1 : 0)];
      const uint64_t both = w.b[set][n * 4 + k % 8 / 2];
      const uint32_t right = static_cast<uint32_t>(k >= 8 ? both >> 32 : both);
      c[i] += (k % 2 ? high(left) : low(left)) * (k % 2 ? high(right) : low(right));
    }
  }
}
inline float exact_exp(float x) {
  return std::exp(x);
}
inline float exact_log(float x) {
  return std::log(x);
}
inline float exact_log1p(float x) {
  return std::log1p(x);
}
inline float power2(float x) {
  return std::exp2(x);
}
inline float inverse_root(float x) {
  return 1.0f / std::sqrt(x);
}
inline float inverse(float x) {
  return 1.0f / x;
}
inline void turn_of(float angle, float& s, float& c) {
  s = static_cast<float>(std::sin(static_cast<double>(angle)));
  c = static_cast<float>(std::cos(static_cast<double>(angle)));
}

}  // namespace treadle::mega
