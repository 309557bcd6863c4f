// The table of one set of lanes.
#pragma once

#include "cpu/attention_body.h"
#include "cpu/dot_body.h"
#include "cpu/float_body.h"
#include "cpu/kernels.h"
#include "cpu/noise_body.h"

namespace treadle::cpu {
namespace {

template <class L>
constexpr Kernels table = {
    .matmul = {&matmul<L, Kind::f32>, &matmul<L, Kind::f16>, &matmul<L, Kind::bf16>,
               &matmul<L, Kind::q4_0>, &matmul<L, Kind::q4_1>, &matmul<L, Kind::q8_0>,
               &matmul<L, Kind::q4_k>, &matmul<L, Kind::q5_k>, &matmul<L, Kind::q6_k>,
#if !defined(__wasm__)
               &matmul<L, Kind::q5_0>, &matmul<L, Kind::q5_1>
#endif
    },
    .read = &read_bytes<L>,
    .quantise = &quantise<L>,
    .rmsnorm = &rmsnorm<L>,
    .glu = &glu<L>,
    .add = &add_rows<L>,
    .scale = &scale_row<L>,
    .softcap = &softcap_row<L>,
    .rope = &rope<L>,
    .kv_write = &kv_write<L>,
    .attention = &attention<L>,
    .attend = &attend<L>,
    .fold = &fold<L>,
    .noise = &noise<L>,
};

}  // namespace
}  // namespace treadle::cpu
