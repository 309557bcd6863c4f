#!/usr/bin/env bash
# All measurements that want a CUDA device, in the order of their worth, within so many seconds:
#     benchmarks/on_gpu.sh OUT [SECONDS] [BASELINE]
# Run from the repository's root with the package importable (PYTHONPATH=python and a built core).
# Each step has a time limit of its own, and OUT/results.tgz is written anew after each, so that
# what breaks loses nothing of the others. Verdicts on pairs of CPU kernels run beside, on cores of
# their own. BASELINE: a script with a decoder for bench_decode_cuda.py.
set -u
OUT=$(realpath "$1") LIMIT=${2:-510} BASELINE=${3:-} SECONDS=0
PY=${PYTHON:-python3}
LOG=$OUT/log
CACHE=${CACHE:-$HOME/.cache/treadle/kernels}
mkdir -p "$LOG"

say() { echo "== $SECONDS s: $*"; }
left() { echo $((LIMIT - SECONDS - 12)); }
minutes() { $PY -c "print(max(0.05, ($(left) - $1) / 60))"; }
save() {
  tar czf "$OUT/.new.tgz" -C "$OUT" log -C "$PWD" kernels/traces benchmarks/results &&
    mv "$OUT/.new.tgz" "$OUT/results.tgz"
}

# Processors, threads of one core side by side: four for the GPU's host, the rest for the pairs.
mapfile -t CORES < <($PY - <<'P'
import os
from pathlib import Path

def place(cpu):
    at = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return *(int((at / f).read_text()) for f in ("physical_package_id", "core_id")), cpu
    except OSError:
        return 0, cpu, cpu

cpus = sorted(os.sched_getaffinity(0), key=place)
n = 4 if len(cpus) >= 8 else 1
print(",".join(map(str, cpus[:n])), ",".join(map(str, cpus[n:])), max(1, (len(cpus) - n) // 2),
      sep="\n")
P
)
{ nvcc --version; lscpu; nvidia-smi; } >"$LOG/machine.txt" 2>&1
say "GPU on ${CORES[0]}, pairs on ${CORES[1]}"

step() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2
  shift 2
  taskset -c "${CORES[0]}" timeout -k 5 "$limit" "$@" >"$LOG/$name.txt" 2>&1
  echo "status $?" >>"$LOG/$name.txt"
  say "$name"
  tail -n 4 "$LOG/$name.txt" | cut -c1-600
  save
}

taskset -c "${CORES[1]}" timeout -k 5 "$(left)" $PY benchmarks/bench_kernels_verdicts.py \
  --real 500 --at-once "${CORES[2]}" --minutes "$(minutes 60)" --kept "$LOG/pairs" \
  >"$LOG/verdicts.txt" 2>&1 &
PAIRS=$!
step decode 225 $PY benchmarks/bench_decode_cuda.py --rounds 80 --cache "$CACHE" \
  ${BASELINE:+--baseline "$BASELINE"}
step persist 50 $PY -m pytest tests/security/kernels/test_cuda_cheats.py -q -rA
TRACES=($PY benchmarks/kernel_traces.py --device cuda --jobs 4 --cache "$CACHE"
  --group llama --group public)
step missing 95 "${TRACES[@]}" --missing --seconds 3 --minutes 1.3
[ "$(left)" -gt 25 ] && step unclear "$(left)" "${TRACES[@]}" --unclear --seconds 7 \
  --minutes "$(minutes 20)"
while kill -0 $PAIRS 2>/dev/null && [ $SECONDS -lt $((LIMIT - 5)) ]; do sleep 1; done
save
say "verdicts"
tail -n 2 "$LOG/verdicts.txt" | cut -c1-1500
