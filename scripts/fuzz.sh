#!/usr/bin/env bash
# Builds the libFuzzer targets with clang and runs each (or those named) for SECONDS_EACH (60)
# seconds under ASan and UBSan. What fails ends the run; its input stays in build/fuzz/found.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
clang=$(command -v clang++ || command -v clang++-16 || command -v clang++-14 || true)
[ -n "$clang" ] || { echo "fuzzing needs clang: apt-get install clang" >&2; exit 1; }
launcher=$(command -v ccache >/dev/null && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache || true)
cmake -S . -B build/fuzz -G Ninja -DTREADLE_PYTHON=OFF -DTREADLE_FUZZ=ON -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE="-O1 -g1" -DCMAKE_CXX_COMPILER="$clang" $launcher >/dev/null
ninja -C build/fuzz -j "${JOBS:-2}"
[ $# -gt 0 ] || set -- $(basename -a -s .cc cpp/fuzz/*.cc)
for name in "$@"; do
  mkdir -p "build/fuzz/corpus/$name" "build/fuzz/found/$name"
  echo "fuzzing $name for ${SECONDS_EACH:-60} s"
  "build/fuzz/fuzz_$name" -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 "-artifact_prefix=build/fuzz/found/$name/" \
    "build/fuzz/corpus/$name" 2>&1 | tail -n "${LINES_EACH:-8}"
done
