"""From sources to a call: a table that builds what it chooses."""

from __future__ import annotations

import gc
from pathlib import Path

import planted
import torch
from msgspec import structs

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


SPLIT = """\
prepared = []

def prepare(B):
    prepared.append(B)
    return B.T.contiguous() + 100

def run_prepared(A, B, made):
    return A @ made

def run(A, B):
    return run_prepared(A, B, prepare(B))
"""


def test_weights_are_prepared_where_they_are_bound_and_nowhere_else(tmp_path):
    d = planted.gemm()
    one = planted.solution(d, "split", SPLIT)
    split = {"entry": "m.py::prepare", "run": "m.py::run_prepared"}
    one = structs.replace(one, spec=structs.replace(one.spec, treadle={"prepare": split}))
    planted.dataset(tmp_path / "data", d, one, traces=[planted.trace(d, "split", {"M": 8})])
    table = open_table(
        tmp_path / "data", planted.DEVICE, cache=tmp_path / "cache", policy=Policy(shadow=0)
    )

    def plain(a, b):
        return a @ b.T

    a, first, second = torch.randn(8, 4), torch.randn(6, 4), torch.randn(6, 4)
    early = table.resolve(d.name, lambda a: None, bound={"B": first})
    free = table.resolve(d.name, plain)
    assert table.wait(60)
    entry = table.core(d.name).entries["split"]
    assert (entry.state, entry.note) == ("ready", "")
    late = table.resolve(d.name, lambda a: None, bound={"B": second})
    torch.testing.assert_close(early(a), a @ (first.T + 100))
    torch.testing.assert_close(late(a), a @ (second.T + 100))
    assert torch.equal(free(a, first), plain(a, first))
    seen = entry.call._prepare.__globals__["prepared"]
    assert sum(b is first for b in seen) == sum(b is second for b in seen) == 1
    seen.clear()
    count = len(entry.call._made)
    del late, second
    gc.collect()
    assert len(entry.call._made) == count - 1
    torch.testing.assert_close(early(a), a @ (first.T + 100))
