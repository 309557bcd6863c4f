"""The definitions of the public FlashInfer Trace dataset that our ops and draws stand behind.

Names, signatures and tags are the dataset's; references are our own text. A test compares every
signature with the published one.
"""

from __future__ import annotations

from collections.abc import Iterator

from treadle.kernels.definitions import text
from treadle.kernels.definitions.derive import define
from treadle.kernels.schema import AxisConst, AxisVar, Definition, Tensor

GEMM = """
10240x8192 128x2048 16384x3072 2048x4096 2048x5376 21504x5376 256x3072 256x7168 28672x4096
3072x3072 3072x6144 3072x8192 34816x5120 3584x18944 3584x3584 37888x3584 4096x14336 4096x4096
4096x5376 4608x3584 5120x17408 5120x2048 5120x3072 5120x5120 5376x21504 5376x4096 57344x8192
6144x4096 7168x5120 8192x28672 8192x3072 8192x8192
"""
RMSNORM = (128, 512, 1536, 2048, 3072, 4096, 5120, 5376, 7168)
FUSED_ADD_RMSNORM = (2048, 3072, 4096, 5120, 5376, 7168)
DECODE = """
16,2,1 16,2,64 20,4,1 20,4,64 24,4,64 24,8,1 24,8,64 32,16,1 32,16,64 32,4,1 32,4,64 32,8,1
32,8,64 48,8,1 5,1,1 6,1,1 6,1,64
"""
PREFILL = """
16,1,64 16,2,1 16,2,64 20,4,1 20,4,64 24,4,1 24,4,64 24,8,1 24,8,64 32,16,1 32,16,64 32,4,1
32,4,64 32,8,1 32,8,64 40,10,1 5,1,1 5,1,64 6,1,1 6,1,64
"""
LAST_BY_INDPTR = {(16, 1), (16, 2), (20, 4), (24, 4), (24, 8), (32, 16)}
"""Heads of published prefill definitions that declare the last page's length by `len_indptr`."""
RAGGED = "16,2,128 20,4,128 24,8,128 32,16,128 32,4,128 32,8,128 5,1,128 6,1,128 8,1,256"
VOCABULARIES = (128256, 129280, 151936, 152064, 200064, 202048, 262208)


def public() -> Iterator[Definition]:
    """All of them."""
    for pair in GEMM.split():
        n, k = map(int, pair.split("x"))
        yield gemm(n, k)
    yield from (rmsnorm(d) for d in RMSNORM)
    yield from (fused_add_rmsnorm(d) for d in FUSED_ADD_RMSNORM)
    for words, make in ((DECODE, gqa_decode), (PREFILL, gqa_prefill), (RAGGED, gqa_ragged)):
        for triple in words.split():
            first, second, third = map(int, triple.split(","))
            yield make(first, second, third)
    for v in VOCABULARIES:
        yield from (sampling(v, k, p) for k, p in ((True, False), (False, True), (True, True)))
    yield rope_cache(128, 64)


def eps_of(hidden: int) -> float:
    """The epsilon that a public norm's name stands for."""
    return 1e-5 if hidden == 4096 else 1e-6


def gemm(n: int, k: int) -> Definition:
    """C = A · Bᵀ in float16."""
    return define(
        "linear", f"gemm_n{n}_k{k}", {"O": n, "I": k}, act="f16", op_type="gemm",
        names={"T": "M", "O": "N", "I": "K", "x": "A", "w": "B", "y": "C"},
    )  # fmt: skip


def rmsnorm(d: int) -> Definition:
    """rmsnorm with the weight applied before the cast."""
    return define(
        "rmsnorm", f"rmsnorm_h{d}", {"D": d}, attrs={"eps": eps_of(d)},
        dtypes={"w": "bf16"}, tags=["fi_api:flashinfer.norm.rmsnorm"],
        names={"T": "batch_size", "D": "hidden_size", "x": "hidden_states", "w": "weight",
               "y": "output"},
    )  # fmt: skip


def fused_add_rmsnorm(d: int) -> Definition:
    """The norm of a sum that is never rounded; the public form returns the norm alone."""
    return define(
        "add_rmsnorm", f"fused_add_rmsnorm_h{d}", {"D": d}, attrs={"eps": eps_of(d)},
        op_type="rmsnorm", dtypes={"w": "bf16"}, outputs=["normed"], wide=True,
        tags=["fused", "fi_api:flashinfer.norm.fused_add_rmsnorm"],
        names={"T": "batch_size", "D": "hidden_size", "x": "hidden_states", "y": "residual",
               "w": "weight", "normed": "output"},
    )  # fmt: skip


def gqa_decode(heads: int, kv_heads: int, page: int) -> Definition:
    """The view of `attention` in which every sequence has one query."""
    q, cache, shared, last = _paged("batch_size", page)
    return Definition(
        name=f"gqa_paged_decode_h{heads}_kv{kv_heads}_d128_ps{page}",
        op_type="gqa_paged",
        axes={"batch_size": AxisVar(), **_heads(heads, kv_heads, 128), "num_pages": AxisVar(),
              "page_size": AxisConst(value=page), "len_indptr": AxisVar(),
              "num_kv_indices": AxisVar()},
        inputs={"q": q, **cache, **shared},
        outputs=_attended("batch_size"),
        reference=text.module(text.GQA_DECODE.format(last=last[0], length=last[1])),
        tags=["stage:decode", "fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper"],
        constraints=["len_indptr == batch_size + 1", "num_kv_indices == kv_indptr[-1].item()"],
        treadle={"op": "attention", "view": "decode", "capacity": ["num_pages", "num_kv_indices"]},
    )  # fmt: skip


def gqa_prefill(heads: int, kv_heads: int, page: int) -> Definition:
    """The view of `attention` with any number of queries a sequence, over pages."""
    q, cache, shared, last = _paged("total_q", page)
    batch: dict[str, AxisVar] = {}
    if page > 1 and (heads, kv_heads) in LAST_BY_INDPTR:
        shared["kv_last_page_len"] = _ints("len_indptr")
    elif page > 1:
        batch["batch_size"] = AxisVar()
    return Definition(
        name=f"gqa_paged_prefill_causal_h{heads}_kv{kv_heads}_d128_ps{page}",
        op_type="gqa_paged",
        axes={**_heads(heads, kv_heads, 128), "page_size": AxisConst(value=page),
              "len_indptr": AxisVar(), "total_q": AxisVar(), "num_kv_indices": AxisVar(),
              "num_pages": AxisVar(), **batch},
        inputs={"q": q, **cache, "qo_indptr": _ints("len_indptr"), **shared},
        outputs=_attended("total_q"),
        reference=text.module(
            text.CAUSAL, text.GQA_PREFILL.format(last=last[0], length=last[1])
        ),
        tags=["stage:prefill", "fi_api:flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper"],
        constraints=["total_q == qo_indptr[-1].item()", "num_kv_indices == kv_indptr[-1].item()"],
        treadle={"op": "attention", "view": "prefill", "capacity": ["num_pages", "num_kv_indices"]},
    )  # fmt: skip


def gqa_ragged(heads: int, kv_heads: int, d: int) -> Definition:
    """The view of `attention` over keys that lie one after the other."""

    def rows(axis: str, count: str) -> Tensor:
        return Tensor(shape=[axis, count, "head_dim"], dtype="bfloat16")

    return Definition(
        name=f"gqa_ragged_prefill_causal_h{heads}_kv{kv_heads}_d{d}",
        op_type="gqa_ragged",
        axes={**_heads(heads, kv_heads, d), "len_indptr": AxisVar(), "total_q": AxisVar(),
              "total_kv": AxisVar()},
        inputs={"q": rows("total_q", "num_qo_heads"), "k": rows("total_kv", "num_kv_heads"),
                "v": rows("total_kv", "num_kv_heads"), "qo_indptr": _ints("len_indptr"),
                "kv_indptr": _ints("len_indptr"), "sm_scale": Tensor(shape=None, dtype="float32")},
        outputs=_attended("total_q"),
        reference=text.module(text.CAUSAL, text.GQA_RAGGED),
        tags=["stage:prefill", "fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper"],
        constraints=["total_q == qo_indptr[-1].item()", "total_kv == kv_indptr[-1].item()"],
        treadle={"op": "attention", "view": "ragged"},
    )  # fmt: skip


def sampling(v: int, top_k: bool, top_p: bool) -> Definition:
    """One draw a row; top_k first, then top_p of what is left."""
    kind = "_".join(word for word, given in (("top_k", top_k), ("top_p", top_p)) if given)
    inputs = {"probs": Tensor(shape=["batch_size", "vocab_size"], dtype="float32")}
    filters = ""
    if top_k:
        inputs["top_k"] = _ints("batch_size")
        filters += "        row = keep_top_k(row, int(top_k[b]))\n"
    if top_p:
        inputs["top_p"] = Tensor(shape=["batch_size"], dtype="float32")
        filters += "        row = keep_top_p(row, float(top_p[b]))\n"
    name = f"{kind}_sampling_from_probs"
    source = text.SAMPLING.format(names=", ".join(inputs), filters=filters)
    return Definition(
        name=f"{name}_v{v}",
        op_type="sampling",
        axes={"batch_size": AxisVar(), "vocab_size": AxisConst(value=v)},
        inputs=inputs,
        outputs={"samples": Tensor(shape=["batch_size"], dtype="int64")},
        reference=text.module(source),
        tags=[f"fi_api:flashinfer.sampling.{name}"],
        treadle={"op": "sample", "sampler": True},
    )


def rope_cache(d: int, rotary: int) -> Definition:
    """`rope` of q and k with cosines and sines from a table."""

    def rows(heads: str) -> Tensor:
        return Tensor(shape=["num_tokens", heads, "head_size"], dtype="bfloat16")

    return Definition(
        name=f"rope_with_cos_sin_cache_neox_style_d{d}_rd{rotary}",
        op_type="rope",
        axes={"num_tokens": AxisVar(), "num_qo_heads": AxisVar(), "num_kv_heads": AxisVar(),
              "head_size": AxisConst(value=d), "rotary_dim": AxisConst(value=rotary),
              "max_seq_len": AxisVar()},
        inputs={"q": rows("num_qo_heads"), "k": rows("num_kv_heads"),
                "cos_sin_cache": Tensor(shape=["max_seq_len", "rotary_dim"], dtype="float32"),
                "positions": Tensor(shape=["num_tokens"], dtype="int64")},
        outputs={"q_out": rows("num_qo_heads"), "k_out": rows("num_kv_heads")},
        reference=text.module(text.ROPE_CACHE),
        tags=["fi_api:flashinfer.rope.apply_rope_with_cos_sin_cache_inplace"],
        treadle={"op": "rope", "view": "cache", "capacity": ["max_seq_len"]},
    )  # fmt: skip


def _heads(heads: int, kv_heads: int, d: int) -> dict[str, AxisConst]:
    return {
        "num_qo_heads": AxisConst(value=heads),
        "num_kv_heads": AxisConst(value=kv_heads),
        "head_dim": AxisConst(value=d),
    }


def _paged(
    rows: str, page: int
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], tuple[str, str]]:
    cache = Tensor(shape=["num_pages", "page_size", "num_kv_heads", "head_dim"], dtype="bfloat16")
    shared = {"kv_indptr": _ints("len_indptr"), "kv_indices": _ints("num_kv_indices")}
    last = ("", "1")
    if page > 1:
        shared["kv_last_page_len"] = _ints("batch_size")
        last = ("kv_last_page_len, ", "int(kv_last_page_len[b])")
    shared["sm_scale"] = Tensor(shape=None, dtype="float32")
    q = Tensor(shape=[rows, "num_qo_heads", "head_dim"], dtype="bfloat16")
    return q, {"k_cache": cache, "v_cache": cache}, shared, last


def _attended(rows: str) -> dict[str, Tensor]:
    return {
        "output": Tensor(shape=[rows, "num_qo_heads", "head_dim"], dtype="bfloat16"),
        "lse": Tensor(shape=[rows, "num_qo_heads"], dtype="float32"),
    }


def _ints(axis: str) -> Tensor:
    return Tensor(shape=[axis], dtype="int32")
