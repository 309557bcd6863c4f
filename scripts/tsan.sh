#!/usr/bin/env bash
# Builds the C++ tests that use threads with -fsanitize=thread and runs them; any race fails.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
launcher=$(command -v ccache >/dev/null && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache || true)
cmake -S . -B build/tsan -G Ninja -DTREADLE_PYTHON=OFF -DTREADLE_TESTS=ON -DTREADLE_SANITIZE=thread \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O1 $launcher >/dev/null
ninja -C build/tsan -j "${JOBS:-2}" threads grammar_rules
for test in threads grammar_rules; do
  echo "$test"
  TSAN_OPTIONS="halt_on_error=1 exitcode=66" "build/tsan/$test"
done
