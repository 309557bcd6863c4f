// What task bodies ask of the machine, on Hopper: thin names for PTX, nothing else.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#define TM_DEVICE __device__ __forceinline__
#define TM_COLD __device__ __noinline__ inline  // one copy, out of the way
#define TM_BOTH __host__ __device__ __forceinline__

namespace treadle::mega {

TM_DEVICE int thread() {
  return static_cast<int>(threadIdx.x);
}
TM_DEVICE int worker() {
  return static_cast<int>(blockIdx.x);
}
TM_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(128) unsigned char raw[];
  return raw;
}
TM_DEVICE uint32_t address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
TM_DEVICE uint32_t address_of(const void* p) {
  return address(p);
}
TM_DEVICE uint64_t now_ns() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}
TM_DEVICE uint32_t clock_now() {
  uint32_t t;
  asm volatile("mov.u32 %0, %clock;" : "=r"(t));
  return t;
}
/// The same number, but the compiler may keep nothing that follows from it over phases and layers.
TM_DEVICE int fresh(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
template <class T>
TM_DEVICE T* fresh(T* p) {
  asm volatile("" : "+l"(p));
  return p;
}
/// The same shared memory, by an address that the compiler cannot tell from another one.
template <class T>
TM_DEVICE T& fresh_shared(T& x) {
  uint32_t at = address(&x);
  asm volatile("" : "+r"(at));
  return *static_cast<T*>(__cvta_shared_to_generic(at));
}
TM_DEVICE void pause() {}
/// Ends the launch. To the compiler it returns: see `fail`.
TM_DEVICE void die() {
  asm volatile("trap;");
}
/// Ends this thread.
[[noreturn]] TM_DEVICE void leave() {
  asm volatile("exit;");
  __builtin_unreachable();
}
TM_DEVICE bool claim(uint32_t* word) {
  return atomicExch(word, 1u) == 0;
}
TM_DEVICE void fence_system() {
  __threadfence_system();
}
/// Words of the host's memory: what is read after an acquired word is as new as that word.
TM_DEVICE uint32_t load_acquired(const uint32_t* p) {
  uint32_t x;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
  return x;
}
/// An ordinary load, which a warp's neighbours share: reads of the host's memory one by one cost 20
/// ns each. What was acquired before it, by this thread or through a barrier, goes before it.
TM_DEVICE uint32_t load_foreign(const uint32_t* p) {
  uint32_t x;
  asm volatile("ld.weak.global.u32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
  return x;
}
/// Orders this thread's accesses, and what it has seen through barriers, with all workers'.
TM_DEVICE void fence_grid() {
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}
/// Between ordinary accesses and those of the copy engine.
TM_DEVICE void fence_copies() {
  asm volatile("fence.proxy.async;" ::: "memory");
}
/// The same for shared memory alone, which waits for no other worker's memory.
TM_DEVICE void fence_shared_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Barriers of the worker -------------------------------------------------------------------------
TM_DEVICE void mb_init(uint64_t* b, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(b)), "r"(count) : "memory");
}
TM_DEVICE void mb_publish() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
TM_DEVICE void mb_expect(uint64_t* b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(b)),
               "r"(bytes)
               : "memory");
}
TM_DEVICE void mb_arrive(uint64_t* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(b)) : "memory");
}
/// As so many arrivals.
TM_DEVICE void mb_arrive_for(uint64_t* b, uint32_t count) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(address(b)), "r"(count)
               : "memory");
}
TM_DEVICE bool mb_try(uint64_t* b, uint32_t parity) {
  uint32_t ok;
  asm volatile(
      "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;"
      " selp.u32 %0, 1, 0, p; }"
      : "=r"(ok)
      : "r"(address(b)), "r"(parity)
      : "memory");
  return ok != 0;
}
TM_DEVICE void bar_all() {
  __syncthreads();
}
TM_DEVICE void bar_sync(int id) {
  asm volatile("bar.sync %0, 256;" ::"r"(id) : "memory");
}
TM_DEVICE void bar_arrive(int id) {
  asm volatile("bar.arrive %0, 256;" ::"r"(id) : "memory");
}

// Copies -----------------------------------------------------------------------------------------
TM_DEVICE uint64_t evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
TM_DEVICE void bulk(void* to, const void* from, uint32_t bytes, uint64_t* b, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(address(to)),
      "l"(from), "r"(bytes), "r"(address(b)), "l"(policy)
      : "memory");
}
TM_DEVICE void bulk(void* to, const void* from, uint32_t bytes, uint64_t* b) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(address(to)),
      "l"(from), "r"(bytes), "r"(address(b))
      : "memory");
}
/// 16 bytes past L1, of what other workers wrote and said so; the lane's copies so far arrive at a
/// barrier when they have landed.
TM_DEVICE void copy_some(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(to)), "l"(from)
               : "memory");
}
TM_DEVICE void copies_arrive(uint64_t* b) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(address(b)) : "memory");
}
TM_DEVICE uint64_t evict_last() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
/// Two constants that every worker reads in every step and that the cache should keep.
TM_DEVICE void load_kept(const float* p, uint64_t policy, float& x, float& y) {
  asm volatile("ld.global.nc.L2::cache_hint.v2.f32 {%0, %1}, [%2], %3;"
               : "=f"(x), "=f"(y)
               : "l"(p), "l"(policy));
}
/// Such a constant alone; the load stays where it is written, before a wait.
TM_DEVICE float load_one(const float* p) {
  float x;
  asm volatile("ld.global.nc.L2::cache_hint.f32 %0, [%1], %2;"
               : "=f"(x)
               : "l"(p), "l"(evict_last()));
  return x;
}
TM_DEVICE void prefetch_kept(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global.L2::cache_hint [%0], %1, %2;" ::"l"(from),
               "r"(bytes), "l"(evict_last())
               : "memory");
}

// Memory shared with other workers: 16 bytes arrive whole, L1 is passed by
// -------------------------
TM_DEVICE uint4 load_packet(const uint4* p) {
  uint64_t a, b;
  asm volatile("{ .reg .b128 t; ld.relaxed.gpu.global.b128 t, [%2]; mov.b128 {%0, %1}, t; }"
               : "=l"(a), "=l"(b)
               : "l"(p)
               : "memory");
  return make_uint4(static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32),
                    static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32));
}
TM_DEVICE void store_packet(uint4* p, uint4 v) {
  const uint64_t a = v.x | static_cast<uint64_t>(v.y) << 32;
  const uint64_t b = v.z | static_cast<uint64_t>(v.w) << 32;
  asm volatile(
      "{ .reg .b128 t; mov.b128 t, {%1, %2}; st.relaxed.gpu.global.b128 [%0], t; }" ::"l"(p),
      "l"(a), "l"(b)
      : "memory");
}
/// The same, of packets that another device writes or reads.
TM_DEVICE uint4 load_packet_far(const uint4* p) {
  uint64_t a, b;
  asm volatile("{ .reg .b128 t; ld.relaxed.sys.global.b128 t, [%2]; mov.b128 {%0, %1}, t; }"
               : "=l"(a), "=l"(b)
               : "l"(p)
               : "memory");
  return make_uint4(static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32),
                    static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32));
}
TM_DEVICE void store_packet_far(uint4* p, uint4 v) {
  const uint64_t a = v.x | static_cast<uint64_t>(v.y) << 32;
  const uint64_t b = v.z | static_cast<uint64_t>(v.w) << 32;
  asm volatile(
      "{ .reg .b128 t; mov.b128 t, {%1, %2}; st.relaxed.sys.global.b128 [%0], t; }" ::"l"(p),
      "l"(a), "l"(b)
      : "memory");
}
/// Counters: what a worker wrote before a fence and this is there for who has seen the sum.
TM_DEVICE void add_counted(uint32_t* p, uint32_t n) {
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(n) : "memory");
}
TM_DEVICE uint32_t load_count(const uint32_t* p) {
  uint32_t x;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
  return x;
}
template <class T>
TM_DEVICE T load_constant(const T* p) {
  return __ldg(p);
}

// Warps ------------------------------------------------------------------------------------------
TM_DEVICE void warp_sync() {
  __syncwarp();
}
TM_DEVICE bool warp_any(bool x) {
  return __any_sync(~0u, x);
}
template <class T>
TM_DEVICE T shfl_xor(T v, int mask) {
  return __shfl_xor_sync(~0u, v, mask);
}
template <class T>
TM_DEVICE T shfl(T v, int lane) {
  return __shfl_sync(~0u, v, lane);
}
TM_DEVICE uint32_t warp_max(uint32_t x) {
  return __reduce_max_sync(~0u, x);
}
TM_DEVICE uint32_t warp_min(uint32_t x) {
  return __reduce_min_sync(~0u, x);
}
/// Bits that are set.
TM_DEVICE int ones(uint32_t x) {
  return __popc(x);
}
/// c[16, 8] += a[16, 16] b[16, 8], bf16 in, float32 sums.
TM_DEVICE void mma(float (&c)[4], uint4 a, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9},"
      " {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// Numbers ----------------------------------------------------------------------------------------
TM_DEVICE float low(uint32_t pair) {
  return __uint_as_float(pair << 16);
}
TM_DEVICE float high(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}
/// (x & mask) | bits, one instruction where the compiler would use two for two constants.
TM_DEVICE uint32_t merged(uint32_t x, uint32_t mask, uint32_t bits) {
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(x), "r"(mask), "r"(bits));
  return r;
}
/// Of two float16 in a word.
TM_DEVICE float half_low(uint32_t pair) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
}
TM_DEVICE float half_high(uint32_t pair) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
}
/// Two bf16 less two others.
TM_DEVICE uint32_t pair_minus(uint32_t x, uint32_t y) {
  uint32_t r;
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y));
  return r;
}
TM_DEVICE uint32_t pair_times(uint32_t x, uint32_t y) {
  uint32_t r;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y));
  return r;
}
TM_DEVICE uint32_t pair_of(float a, float b) {  // round to nearest, a in the low half
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
  return r;
}
TM_DEVICE uint32_t bits_of(float x) {
  return __float_as_uint(x);
}
TM_DEVICE float float_of(uint32_t x) {
  return __uint_as_float(x);
}
/// exp, log and log(1 + x) to a unit or two in the last place, where a draw depends on them.
TM_DEVICE float exact_exp(float x) {
  return expf(x);
}
TM_DEVICE float exact_log(float x) {
  return logf(x);
}
TM_DEVICE float exact_log1p(float x) {
  return log1pf(x);
}
TM_DEVICE float power2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
TM_DEVICE void turn_of(float angle, float& s, float& c) {  // sine and cosine, any angle
  const double turns = static_cast<double>(angle) * 0.15915494309189535;
  sincospif(static_cast<float>(2.0 * (turns - floor(turns))), &s, &c);
}
TM_DEVICE float inverse_root(float x) {
  return rsqrtf(x);
}
/// 1 / x to a unit in the last place, without the branches of an exact division.
TM_DEVICE float inverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace treadle::mega
