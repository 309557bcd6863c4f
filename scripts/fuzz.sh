#!/usr/bin/env bash
# Builds the libFuzzer targets with clang and runs each for SECONDS_EACH (60) seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
clang=$(command -v clang++ || command -v clang++-16 || command -v clang++-14 || true)
[ -n "$clang" ] || { echo "fuzzing needs clang: apt-get install clang-16" >&2; exit 1; }
cmake=.venv/bin/cmake
$cmake -S . -B build/fuzz -DTREADLE_PYTHON=OFF -DTREADLE_FUZZ=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_COMPILER="$clang" >/dev/null
$cmake --build build/fuzz -j 2
for target in build/fuzz/fuzz_*; do
  [ -x "$target" ] && [ -f "$target" ] || continue
  name=$(basename "$target" | sed 's/^fuzz_//')
  mkdir -p "build/fuzz/found/$name" "cpp/fuzz/corpus/$name"
  echo "fuzzing $name for ${SECONDS_EACH:-60} s"
  "$target" -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 "build/fuzz/found/$name" "cpp/fuzz/corpus/$name" 2>&1 | tail -n 8
done
