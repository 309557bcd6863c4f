"""From sources to a call: a table that builds what it chooses."""

from __future__ import annotations

from pathlib import Path

import planted
import torch

from treadle.kernels.apply import Policy
from treadle.kernels.enable import open_table
from treadle.kernels.schema import Solution, Source, Spec

C = """\
#include "dltensor.h"
extern "C" int run(const DLTensor* a, const DLTensor* b, DLTensor* c, void*) {
  if (a->dtype.bits != 32 || a->ndim != 2) return 1;
  const float* x = static_cast<const float*>(a->data);
  const float* w = static_cast<const float*>(b->data);
  float* y = static_cast<float*>(c->data);
  const int64_t m = a->shape[0], k = a->shape[1], n = b->shape[0];
  for (int64_t i = 0; i < m * n; i++) {
    y[i] = 1000;
    for (int64_t j = 0; j < k; j++) y[i] += x[i / n * k + j] * w[i % n * k + j];
  }
  return 0;
}
"""
HEADER = (Path(__file__).parents[2] / "kernels/sources/common/dltensor.h").read_text()


def test_a_c_kernel_is_built_behind_the_calls_back_and_takes_over(tmp_path):
    d = planted.gemm()
    one = Solution(
        name="c", definition=d.name, author="planter",
        spec=Spec(language="cpp", target_hardware=["cpu"], entry_point="m.cc::run",
                  binding="dlpack"),
        sources=[Source(path="m.cc", content=C), Source(path="dltensor.h", content=HEADER)],
    )  # fmt: skip
    bad = planted.solution(d, "bad", "def run(A, B):\n    syntax error\n")
    rows = [planted.trace(d, "c", {"M": 8}), planted.trace(d, "bad", {"M": 64})]
    planted.dataset(tmp_path / "data", d, one, bad, traces=rows)
    table = open_table(
        tmp_path / "data", planted.DEVICE, cache=tmp_path / "cache", policy=Policy(shadow=0)
    )

    def plain(a, b):
        return a @ b.T

    handle = table.resolve(d.name, plain)
    assert table.wait(120)
    states = {n: (e["state"], e["note"]) for n, e in table.counters()[d.name]["entries"].items()}
    assert states["c"] == ("ready", ""), states
    assert states["bad"][0] == "failed", states
    a, weight = torch.randn(8, 4), torch.nn.Parameter(torch.randn(6, 4))
    with torch.no_grad():  # a parameter reaches the kernel without its gradient
        torch.testing.assert_close(handle(a, weight), plain(a, weight) + 1000)
        torch.testing.assert_close(handle(a.repeat(8, 1), weight), plain(a.repeat(8, 1), weight))
    assert torch.equal(handle(a, weight), plain(a, weight))
    assert table.counters()[d.name]["hit"] == 1
