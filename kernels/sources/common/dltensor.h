// The tensor descriptor of DLPack (layout as its specification gives it), and what the bindings ask
// of one. A solution with binding `dlpack` exports
//     int run(inputs..., outputs..., stream)
// in the definition's order: tensors as `const DLTensor*`, scalars as double, 0 for success.
#pragma once

#include <stdint.h>

extern "C" {
struct DLDevice {
  int32_t device_type, device_id;
};
struct DLDataType {
  uint8_t code, bits;  // code 0 int, 2 float, 4 bfloat
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
}

namespace treadle {

constexpr int kBadTensor = 1;  // cudaErrorInvalidValue
#ifdef __CUDACC__
constexpr int kDevice = 2;
#else
constexpr int kDevice = 1;  // CPU
#endif

inline bool is(const DLTensor* t, int code, int bits, int ndim) {
  if (t->dtype.code != code || t->dtype.bits != bits || t->dtype.lanes != 1 || t->ndim != ndim)
    return false;
  int64_t dense = 1;
  for (int i = ndim - 1; i >= 0; i--) {  // row-major; strides of axes of one element do not matter
    if (t->strides && t->shape[i] > 1 && t->strides[i] != dense) return false;
    dense *= t->shape[i];
  }
  return t->device.device_type == kDevice;
}
inline bool is_bf16(const DLTensor* t, int ndim) {
  return is(t, 4, 16, ndim);
}
inline bool is_i32(const DLTensor* t, int ndim) {
  return is(t, 0, 32, ndim);
}
inline void* at(const DLTensor* t) {
  return static_cast<char*>(t->data) + t->byte_offset;
}

}  // namespace treadle
