"""transformers' norms with a table behind them: the same tokens, and the kernels really run."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.append(str(Path(__file__).parents[1] / "kernels"))
import planted

from treadle.compat.transformers_kernels import mapping, sites
from treadle.kernels.apply import Policy, enabled
from treadle.kernels.definitions.derive import define

CONFIG = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5,
)  # fmt: skip
IDS = torch.tensor([[3, 1, 4, 1, 5]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG).eval()


def table_of(tmp_path, eps=1e-5, scale="1"):
    d = define("rmsnorm", "norm_toy", {"D": 32}, act="f32", attrs={"eps": eps})
    body = d.reference.replace("return v.to(x.dtype)", f"return v.to(x.dtype) * {scale}")
    assert body != d.reference
    one = planted.solution(d, "s", body)
    rows = [planted.trace(d, "s", {"T": t}) for t in (1, 2, 4, 8)]
    return planted.table(planted.dataset(tmp_path, d, one, traces=rows), Policy(shadow=2)), [d]


def generate(model):
    return model.generate(IDS, max_new_tokens=8, do_sample=False, pad_token_id=0).tolist()


@pytest.mark.parametrize(("scale", "state"), [("1", "ready"), ("3", "open")])
def test_sites_keep_the_tokens_and_leave_no_trace(model, tmp_path, scale, state):
    table, definitions = table_of(tmp_path, scale=scale)
    want = generate(model)
    kind = type(model.model.norm)
    before = dict(vars(kind))
    with enabled(table, sites(model, definitions)):
        generate(model)
        assert table.wait()
        assert generate(model) == want
    assert dict(vars(kind)) == before
    found = table.counters()["norm_toy"]
    assert found["hit"] > 0
    assert found["entries"]["s"]["state"] == state


def test_another_epsilon_is_left_alone(model, tmp_path):
    table, definitions = table_of(tmp_path, eps=1e-6)
    with enabled(table, sites(model, definitions)):
        generate(model)
    assert table.counters() == {}


def test_the_mapping_gives_layers_as_kernelize_takes_them(model, tmp_path):
    table, definitions = table_of(tmp_path)
    (layers,) = mapping(table, definitions).values()
    assert set(layers) == {"cpu", "cuda"}
    layer = layers["cpu"].load()
    assert not layer.has_backward
    assert set(vars(layer)) & {"__init__"} == set()  # kernelize takes the forward and nothing else
    mine = copy.deepcopy(model)
    for module in mine.modules():
        if hasattr(module, "variance_epsilon"):
            module.forward = types.MethodType(layer.forward, module)
    want = generate(model)
    assert generate(mine) == want
    assert table.wait()
    assert generate(mine) == want
    assert table.counters()["norm_toy"]["hit"] > 0
