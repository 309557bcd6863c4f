// Waits that end: every spin has a bound, and the first one in vain says where.
#pragma once

namespace treadle::mega {

/// Writes the error record {code, worker, phase, counter, seen, need, epoch} and ends the launch.
[[noreturn]] TM_COLD void fail(const Args& a, uint32_t code, uint32_t phase, uint32_t counter,
                               uint32_t seen, uint32_t need) {
  if (claim(a.claimed)) {
    volatile uint32_t* r = a.error;
    r[1] = static_cast<uint32_t>(worker());
    r[2] = phase;
    r[3] = counter;
    r[4] = seen;
    r[5] = need;
    r[6] = a.epoch;
    fence_system();
    r[0] = code;
    fence_system();
  } else {
    const uint64_t until = now_ns() + kPatience / 100;  // until the record is out
    while (now_ns() < until) pause();
  }
  die();
}

/// Notes the clock as mark `what` of a warp's phase (`treadle.backends.mega.cuda_trace` reads it);
/// mark 7 is the time of day, by which the clocks of all SMs are laid over each other.
TM_DEVICE void stamp(const Args& a, uint32_t epoch, int warp, int lane, int what) {
  if constexpr (Model::kTrace) {
    if (lane != 0) return;
    const uint32_t phase = (epoch - 1) % Model::kStepPhases;
    uint32_t* to = a.trace + ((worker() * Model::kStepPhases + phase) * (kWarps + 1) + warp) * 8;
    to[what] = clock_now();
    if (what == 0) to[7] = static_cast<uint32_t>(now_ns());
  }
}

/// A bounded spin; the clock is read once in 256 turns.
struct Spin {
  uint32_t turns = 0;
  uint64_t since = 0;
  TM_DEVICE bool late(uint64_t patience) {
    pause();
    if ((++turns & 255) != 0) return false;
    const uint64_t t = now_ns();
    if (since == 0) since = t;
    return t - since > patience;
  }
};

/// Waits inside a worker are more patient than those for another worker: a full ring is what a
/// missing packet leads to, and the record shall name the cause.
TM_DEVICE void mb_wait(const Args& a, uint64_t* b, uint32_t parity, uint32_t code, uint32_t phase) {
  if (mb_try(b, parity)) return;
  Spin spin;
  while (!mb_try(b, parity)) {
    if (spin.late(kPatience * 5 / 4)) fail(a, code, phase, address_of(b), parity, 0);
  }
}

/// Polls up to N packets a lane until each carries the epoch. `at(i)` is the packet's place, `mask`
/// says which of them are wanted. Whole warps call this together.
template <int N, class At>
TM_DEVICE void poll(const Args& a, At at, uint32_t mask, uint32_t epoch, uint32_t phase,
                    uint4 (&v)[N]) {
  const uint4* packets = fresh(a.packets);
  Spin spin;
  while (warp_any(mask != 0)) {
#pragma unroll
    for (int i = 0; i < N; i++)
      if (mask >> i & 1) v[i] = load_packet(packets + at(i));
#pragma unroll
    for (int i = 0; i < N; i++)
      if ((mask >> i & 1) && v[i].w == epoch) mask &= ~(1u << i);
    if (spin.late(kPatience) && mask) {
      int i = 0;
      while (!(mask >> i & 1)) i++;
      fail(a, kPacket, phase, static_cast<uint32_t>(at(i)), a.packets[at(i)].w, epoch);
    }
  }
}

}  // namespace treadle::mega
