"""From a running model to a faster one, as one command without a GPU: the scripted agent writes
the gated feed-forward that torch runs as a product and three passes over its result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import Server, proposal, serving

from treadle.cli import main as cli
from treadle.kernels.store import Dataset

pytestmark = pytest.mark.alone

GATED = """\
#include "dltensor.h"
#include <stdint.h>

// y = gelu_tanh(x wgT) * (x wuT), 16 columns at once with their weights turned, four rows against
// each: sums stay in registers, and nothing of [T, 2F] is ever stored.
typedef float V __attribute__((vector_size(64)));
typedef float U __attribute__((vector_size(64), aligned(4)));
typedef int32_t I __attribute__((vector_size(64)));
static constexpr int W = 16, MAX_D = 256;

// e^x for any finite x, to about one unit in the last place.
static inline V exponential(V x) {
  x = x > 88.0f ? V{} + 88.0f : x;
  x = x < -87.0f ? V{} - 87.0f : x;
  const float whole = 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer
  const V n = (x * 1.44269504f + whole) - whole;
  const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * (V)((__builtin_convertvector(n, I) + 127) << 23);
}

template <int R>
static inline void rows(const float* x, int64_t D, const V* g, const V* u, float* y, int64_t F) {
  V a[R] = {}, b[R] = {};
  for (int64_t k = 0; k < D; k++)
    for (int r = 0; r < R; r++) {
      a[r] += g[k] * x[r * D + k];
      b[r] += u[k] * x[r * D + k];
    }
  for (int r = 0; r < R; r++) {
    const V z = 1.5957691216f * (a[r] + 0.044715f * a[r] * a[r] * a[r]);
    *(U*)(y + r * F) = a[r] / (1.0f + exponential(-z)) * b[r];
  }
}

extern "C" int run(const DLTensor* x, const DLTensor* wg, const DLTensor* wu, const DLTensor* y,
                   void*) {
  const float* X = (const float*)((const char*)x->data + x->byte_offset);
  const float* G = (const float*)((const char*)wg->data + wg->byte_offset);
  const float* L = (const float*)((const char*)wu->data + wu->byte_offset);
  float* Y = (float*)((char*)y->data + y->byte_offset);
  const int64_t T = x->shape[0], D = x->shape[1], F = wg->shape[0];
  if (D > MAX_D || F % W) return 1;
  V g[MAX_D], u[MAX_D];
  for (int64_t f = 0; f < F; f += W) {
    for (int64_t k = 0; k < D; k++)
      for (int j = 0; j < W; j++) {
        g[k][j] = G[(f + j) * D + k];
        u[k][j] = L[(f + j) * D + k];
      }
    int64_t t = 0;
    for (; t + 4 <= T; t += 4) rows<4>(X + t * D, D, g, u, Y + t * F + f, F);
    for (; t < T; t++) rows<1>(X + t * D, D, g, u, Y + t * F + f, F);
  }
  return 0;
}
"""
SILU = GATED.replace("1.5957691216f * (a[r] + 0.044715f * a[r] * a[r] * a[r])", "a[r]")


def test_a_running_model_becomes_faster_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def better(number: int) -> str:
        return proposal(f"// answer {number}\n{GATED}")

    with serving(Server([proposal(SILU), better])) as server:
        words = [
            "kernels", "loop", "--root", str(tmp_path), "--cache", str(tmp_path / "cache"),
            "--base-url", server.url, "--model", "scripted", "--attempts", "4", "--goal", "1.05",
            "--rounds", "30", "--seconds", "6", "--share", "--wait", "200", "--quiet", "--json",
        ]  # fmt: skip
        code = cli.main(words)
    told = capsys.readouterr()
    assert told.out, (code, told.err)
    found = json.loads(told.out)
    assert found["definition"] == "gate_up_glu_gelu_tanh_d16_f2048_float32"
    assert found["captured"] == 1
    rows = found["agent"]["attempts"]
    assert rows[0]["status"] == "INCORRECT_NUMERICAL", rows
    # On a machine that others use, a measurement may fail to convince; then the agent tries again.
    assert (rows[-1]["status"], found["agent"]["stopped"]) == ("PASSED", "goal"), rows
    assert server.user(0)["workloads"] == [{"T": 64}]
    assert found["agent"]["final"]["speedup"] > 1.1
    assert found["applied"]["solution"] == found["agent"]["final"]["solution"]
    assert found["applied"]["state"] == "ready"
    assert found["applied"]["hits"] > 0
    step = found["step"]
    assert step["same_tokens"]
    # How wide the interval is, others on this machine decide too; what it says must be said.
    assert step["verdict"] in ("FAST", "UNCLEAR"), step
    assert (code == 0) == (step["verdict"] == "FAST")
    assert step["speedup"] > 1, step
    assert found["seconds"] < 180
    assert not list(Dataset(tmp_path, readonly=True).problems())
    with capsys.disabled():
        print(f"\nstep {step['off_ms']:.2f} -> {step['on_ms']:.2f} ms, {found['seconds']} s in all")
