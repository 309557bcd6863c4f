// Masks applied to logits: minus infinity where the bit is 0.
//
// A thread owns 16 bytes of one row: 4 floats or 8 half-precision values, and so a nibble or a byte
// of the mask. All ones touch nothing, all zeros are one 16-byte store, and only mixed ones are
// read first. Logits are moved as bits, so one body serves float16 and bfloat16.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/extension.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256;
constexpr int32_t kNoMask = -1;
constexpr int32_t kStaged = -2;

struct Args {
  const int32_t* table;
  const int32_t* staging;
  const int32_t* ids;    // or null: the mask row is the logits row
  const int32_t* index;  // or null: position i is logits row i
  int64_t logits_stride;
  int64_t table_stride;
  int64_t staging_stride;
  int64_t width;
  int64_t words;
  uint32_t beyond;  // the mask past the words of a row
};

// The mask row of a position, or null for none.
__device__ const int32_t* mask_of(const Args& args, int64_t position, int64_t row) {
  if (!args.ids) return args.table + row * args.table_stride;
  const int32_t id = args.ids[position];
  if (id == kNoMask) return nullptr;
  if (id == kStaged) return args.staging + position * args.staging_stride;
  return args.table + id * args.table_stride;
}

template <class Bits>
__global__ void mask_kernel(Bits* logits, Bits none, Args args) {
  constexpr int kLanes = 16 / sizeof(Bits);
  constexpr uint32_t kAll = (1u << kLanes) - 1;
  const int64_t position = blockIdx.y;
  const int64_t row = args.index ? args.index[position] : position;
  const int32_t* mask = mask_of(args, position, row);
  if (!mask) return;
  Bits* out = logits + row * args.logits_stride;
  const bool aligned = reinterpret_cast<uintptr_t>(out) % 16 == 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * kLanes;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLanes;
  for (int64_t at = first; at < args.width; at += step) {
    const uint32_t word =
        at / 32 < args.words ? static_cast<uint32_t>(mask[at / 32]) : args.beyond;
    const uint32_t bits = (word >> (at % 32)) & kAll;
    if (bits == kAll) continue;
    const int64_t left = args.width - at;
    if (aligned && left >= kLanes) {
      union {
        uint4 whole;
        Bits part[kLanes];
      } value;
      if (bits != 0) value.whole = *reinterpret_cast<const uint4*>(out + at);
#pragma unroll
      for (int i = 0; i < kLanes; ++i) {
        if (!(bits >> i & 1u)) value.part[i] = none;
      }
      *reinterpret_cast<uint4*>(out + at) = value.whole;
    } else {
      for (int i = 0; i < kLanes && i < left; ++i) {
        if (!(bits >> i & 1u)) out[at + i] = none;
      }
    }
  }
}

template <class Bits>
void launch(const at::Tensor& logits, Bits none, const Args& args, int64_t positions) {
  const int64_t span = kThreads * (16 / static_cast<int64_t>(sizeof(Bits)));
  const dim3 grid(static_cast<unsigned>((args.width + span - 1) / span),
                  static_cast<unsigned>(positions));
  mask_kernel<Bits><<<grid, kThreads, 0, at::cuda::getCurrentCUDAStream()>>>(
      static_cast<Bits*>(logits.data_ptr()), none, args);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void apply_mask(const at::Tensor& logits, const at::Tensor& table, const at::Tensor& staging,
                const at::Tensor& ids, const at::Tensor& index, int64_t positions, bool has_ids,
                bool has_index, bool keep_beyond) {
  TORCH_CHECK(positions <= 65535, "apply_mask: at most 65535 rows");
  const at::cuda::CUDAGuard guard(logits.device());
  const bool staged = staging.dim() == 2;
  const Args args{
      .table = table.const_data_ptr<int32_t>(),
      .staging = staged ? staging.const_data_ptr<int32_t>() : nullptr,
      .ids = has_ids ? ids.const_data_ptr<int32_t>() : nullptr,
      .index = has_index ? index.const_data_ptr<int32_t>() : nullptr,
      .logits_stride = logits.stride(0),
      .table_stride = table.stride(0),
      .staging_stride = staged ? staging.stride(0) : 0,
      .width = logits.size(1),
      .words = table.size(1),
      .beyond = keep_beyond ? 0xffffffffu : 0u,
  };
  switch (logits.scalar_type()) {
    case at::kFloat:
      return launch<uint32_t>(logits, 0xff800000u, args, positions);
    case at::kHalf:
      return launch<uint16_t>(logits, 0xfc00u, args, positions);
    case at::kBFloat16:
      return launch<uint16_t>(logits, 0xff80u, args, positions);
    default:
      TORCH_CHECK(false, "apply_mask: logits must be float32, float16 or bfloat16");
  }
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("apply_mask", &apply_mask, "Minus infinity where the bit is 0.");
}
