// Waits that end: every spin has a bound, and the first one in vain says where.
#pragma once

namespace treadle::mega {

/// A bounded spin, by the SM's clock: it wraps after more than two seconds.
struct Spin {
  uint32_t since = clock_now();
  TM_DEVICE bool late(uint32_t patience) {
    pause();
    return clock_now() - since > patience;
  }
};

/// Writes the error record {code, worker, phase, counter, seen, need, epoch, rank} and ends the
/// launch.
TM_COLD void tell_and_die(const Args& a, uint32_t code, uint32_t phase, uint32_t counter,
                          uint32_t seen, uint32_t need) {
  if (claim(a.claimed)) {
    volatile uint32_t* r = a.error;
    r[1] = static_cast<uint32_t>(worker());
    r[2] = phase;
    r[3] = counter;
    r[4] = seen;
    r[5] = need;
    r[6] = a.epoch;
    if constexpr (Model::kRanks > 1) r[7] = a.rank;
    fence_system();
    r[0] = code;
    fence_system();
  } else {
    Spin spin;  // until the record is out
    while (!spin.late(kPatience / 100)) {
    }
  }
  die();
}

/// The same; the compiler must know that nothing lives through the call, or it keeps registers free
/// for what a function may not change, and spills.
[[noreturn]] TM_DEVICE void fail(const Args& a, uint32_t code, uint32_t phase, uint32_t counter,
                                 uint32_t seen, uint32_t need) {
  tell_and_die(a, code, phase, counter, seen, need);
  leave();
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

/// Waits inside a worker are more patient than those for another worker: a full ring is what a
/// missing packet leads to, and the record shall name the cause.
TM_DEVICE void mb_wait(const Args& a, uint64_t* b, uint32_t parity, uint32_t code, uint32_t phase) {
  if (mb_try(b, parity)) return;
  Spin spin;
  while (!mb_try(b, parity)) {
    if (spin.late(kPatience / 4 * 5)) fail(a, code, phase, address_of(b), parity, 0);
  }
}

/// Polls up to N packets a lane until each carries the epoch. `at(i)` is the packet's place, `mask`
/// says which of them are wanted. Whole warps call this together.
template <int N, class At>
TM_DEVICE void poll(const Args& a, At at, uint32_t mask, uint32_t epoch, uint32_t phase,
                    uint4 (&v)[N]) {
  const uint4* packets = fresh(a.packets);
  Spin spin;
  // Registers that only some lanes write would otherwise live from the kernel's first instruction
  // on, through all phases.
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = make_uint4(0, 0, 0, 0);
  while (warp_any(mask != 0)) {
#pragma unroll
    for (int i = 0; i < N; i++)
      if (mask >> i & 1) {
        if constexpr (Model::kRanks > 1)
          v[i] = load_packet_far(packets + at(i));
        else
          v[i] = load_packet(packets + at(i));
      }
    const bool late = spin.late(kPatience);  // while the packets are on their way
#pragma unroll
    for (int i = 0; i < N; i++)
      if ((mask >> i & 1) && v[i].w == epoch) mask &= ~(1u << i);
    if (late && mask) {
      uint32_t place = 0, seen = 0;
#pragma unroll
      for (int i = 0; i < N; i++)
        if (mask >> i & 1) place = static_cast<uint32_t>(at(i)), seen = v[i].w;
      fail(a, kPacket, phase, place, seen, epoch);
    }
  }
}

/// The six bf16 of a packet.
TM_DEVICE void widen(uint4 v, float (&x)[6]) {
  x[0] = low(v.x), x[1] = high(v.x), x[2] = low(v.y);
  x[3] = high(v.y), x[4] = low(v.z), x[5] = high(v.z);
}

}  // namespace treadle::mega
