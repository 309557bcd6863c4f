// What the decode kernels share: element types, 16-byte streaming loads, tensor-core products,
// warp sums, and launches that may overlap with the kernel before them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

namespace treadle {

using bf16 = __nv_bfloat16;
using f16 = __half;

template <class T>
struct Pair;  // the packed two-element type of T
template <>
struct Pair<bf16> {
  using type = __nv_bfloat162;
  __device__ static float2 wide(uint32_t bits) {
    return __bfloat1622float2(*reinterpret_cast<type*>(&bits));
  }
  __device__ static uint32_t narrow(float a, float b) {
    type v = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<uint32_t*>(&v);
  }
};
template <>
struct Pair<f16> {
  using type = __half2;
  __device__ static float2 wide(uint32_t bits) {
    return __half22float2(*reinterpret_cast<type*>(&bits));
  }
  __device__ static uint32_t narrow(float a, float b) {
    type v = __floats2half2_rn(a, b);
    return *reinterpret_cast<uint32_t*>(&v);
  }
};

template <class T>
__device__ inline T from_float(float v);
template <>
__device__ inline bf16 from_float<bf16>(float v) {
  return __float2bfloat16_rn(v);
}
template <>
__device__ inline f16 from_float<f16>(float v) {
  return __float2half_rn(v);
}
__device__ inline float to_float(bf16 v) {
  return __bfloat162float(v);
}
__device__ inline float to_float(f16 v) {
  return __half2float(v);
}

// Reads once-used data without displacing what L1 should keep.
__device__ inline uint4 load_stream(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

__device__ inline uint2 load_stream8(const void* p) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(p));
  return v;
}

// Data that the kernel before this one may have written: no read-only path.
__device__ inline uint4 load16(const void* p) {
  return *reinterpret_cast<const uint4*>(p);
}

// c[16x8] += a[16x16] . b[16x8]. Lane = 4g + t: a rows g and g+8, b and c columns as PTX has them.
template <class T>
__device__ inline void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                           uint32_t b0, uint32_t b1);
template <>
__device__ inline void mma<bf16>(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                 uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <>
__device__ inline void mma<f16>(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline float warp_sum(float v) {
#pragma unroll
  for (int mask = 16; mask; mask >>= 1) v += __shfl_xor_sync(~0u, v, mask);
  return v;
}

// Under programmatic dependent launch a kernel starts before its predecessor has ended: what the
// predecessor wrote may be read only after `await_inputs`. Both are no-ops in a plain launch.
__device__ inline void await_inputs() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ inline void release_successor() {
  asm volatile("griddepcontrol.launch_dependents;");
}

// Launches on `stream` in clusters of blocks; `overlap` lets the kernel start while the one before
// it drains.
template <class... Params, class... Args>
int launch_clusters(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared,
                    cudaStream_t stream, bool overlap, int cluster, Args... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  cudaLaunchAttribute attributes[2];
  if (overlap) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs++].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  }
  config.attrs = attributes;
  if (shared > 32768) {
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (status) return status;
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

template <class... Params, class... Args>
int launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
           bool overlap, Args... args) {
  return launch_clusters(kernel, grid, block, shared, stream, overlap, 1, args...);
}

}  // namespace treadle
