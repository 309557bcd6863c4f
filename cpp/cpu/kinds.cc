#include "cpu/kinds.h"

#include <array>
#include <string>

namespace treadle::cpu {

namespace {

// Group bytes, 16 rows: see pack.cc for the planes inside a group.
constexpr std::array<KindInfo, kKinds> infos = {{
    {"f32", 1, 4, 1, 64, false},
    {"f16", 1, 2, 2, 64, false},
    {"bf16", 1, 2, 2, 64, false},
    {"q4_0", 32, 18, 64, small_planes(Kind::q4_0).bytes(), true},
    {"q4_1", 32, 20, 64, small_planes(Kind::q4_1).bytes(), true},
    {"q8_0", 32, 34, 64, small_planes(Kind::q8_0).bytes(), true},
    {"q4_k", 256, 144, 256, 2048 + 2 * 128 + 2 * 32, true},
    {"q5_k", 256, 176, 256, 2048 + 512 + 2 * 128 + 2 * 32, true},
    {"q6_k", 256, 210, 256, 2048 + 1024 + 256 + 64, true},
    {"q5_0", 32, 22, 64, small_planes(Kind::q5_0).bytes(), true},
    {"q5_1", 32, 24, 64, small_planes(Kind::q5_1).bytes(), true},
}};

}  // namespace

const KindInfo& kind_info(Kind kind) {
  return infos[static_cast<size_t>(kind)];
}

Result<Kind> kind_of(std::string_view name) {
  std::string known;
  for (size_t i = 0; i < kReadKinds; ++i) {
    if (infos[i].name == name) return static_cast<Kind>(i);
    known += (known.empty() ? "" : ", ") + std::string(infos[i].name);
  }
  return unsupported("format " + std::string(name), "the CPU kernels read " + known);
}

}  // namespace treadle::cpu
