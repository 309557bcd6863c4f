"""Runs a generated kernel on this machine: every CUDA thread a fiber (cuda/mega/port_host.cuh)."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from treadle.backends.mega.cuda_args import NEVER, Args, ballots, peers
from treadle.backends.mega.cuda_boxes import Boxes, Layout
from treadle.backends.mega.cuda_pack import bf16, fill, pool, ranges, size, starts, widened
from treadle.backends.mega.cuda_seats import Seats, words
from treadle.graph import OPS, Graph
from treadle.mega import H200, compile
from treadle.mega.codegen import generate
from treadle.mega.codegen_program import Knobs, Program

ROOT = Path(__file__).parents[2]
PAGE = 64


def compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++")


def program(
    graph: Graph,
    workers: int,
    rows: int,
    context: int,
    knobs: Knobs | None = None,
) -> Program:
    target = replace(H200, workers=workers)
    plan = compile(graph, target, rows=rows, slots=rows, context=context, segment=PAGE)
    return generate(plan, knobs, {name: param.format for name, param in graph.params.items()})


@cache
def folder() -> Path:
    """Of this process, for libraries."""
    made = tempfile.mkdtemp(prefix="treadle-mega-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@cache
def built(text: str) -> ctypes.CDLL:
    """The library of a source; equal sources are compiled once."""
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    source, out = folder() / f"{name}.cu", folder() / f"{name}.so"
    source.write_text(text)
    subprocess.run(
        [str(compiler()), "-std=c++20", "-O1", "-DTREADLE_HOST", "-U_FORTIFY_SOURCE", "-Wall",
         "-Wno-unknown-pragmas", "-Werror", f"-I{ROOT / 'cuda'}", "-x", "c++", str(source),
         "-shared", "-fPIC", "-o", str(out)],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(out))


def rounded(graph: Graph, params: dict[str, Any]) -> dict[str, Any]:
    """Params with matrices rounded to bf16, as float64: what kernel and reference both mean."""
    return {
        name: widened(bf16(x)).astype(np.float64)
        if x.ndim > 1
        else x.astype(np.float32).astype(np.float64)
        for name, x in params.items()
    }


def rounding(patch: Any, *, prepared: bool = False) -> None:
    """Makes the references round to bf16 where the kernel does: what a linear reads (the norm's
    factor follows), what q, k, v and branches of the residual stream carry, what KV pages hold,
    what an expert has made and the router has weighed. prepared: by PREP the norm's factor is in.
    """

    def bf(x: Any) -> Any:
        return widened(bf16(np.asarray(x))).astype(np.float64)

    carried: dict[int, Any] = {}  # outputs of linears, by identity, kept alive

    def settled(x: Any) -> Any:
        return bf(x) if id(x) in carried else x

    normed: dict[int, tuple[Any, Any]] = {}  # outputs of norms: themselves, and as linears read it
    names = ("linear", "add", "view", "kv_write", "rmsnorm", "experts")
    plain = {name: OPS[name]._reference for name in names}

    def rmsnorm(xp: Any, x: Any, weight: Any, *, eps: float) -> Any:
        x = np.asarray(settled(x))
        y = plain["rmsnorm"](xp, x, weight, eps=eps)
        root = (np.square(x).mean(-1, keepdims=True) + eps) ** -0.5
        scaled = x * np.asarray(weight)
        normed[id(y)] = y, bf(scaled * root) if prepared else bf(scaled) * root
        return y

    def linear(xp: Any, x: Any, *rest: Any, **attrs: Any) -> Any:
        read = normed[id(x)][1] if id(x) in normed else bf(x)
        y = plain["linear"](xp, read, *rest, **attrs)
        carried[id(y)] = y
        return y

    def experts(
        xp: Any, x: Any, w: Any, i: Any, wg: Any, wu: Any, wd: Any, *, act: str
    ) -> Any:  # fmt: skip
        h = normed[id(x)][1]
        y = np.zeros(h.shape)
        for row, a in np.ndindex(*i.shape):
            e = i[row, a]
            made = OPS["glu"]._reference(xp, h[row] @ wg[e].T, h[row] @ wu[e].T, act=act)
            y[row] += bf(made * w[row, a]) @ wd[e].T
        carried[id(y)] = y
        return y

    def add(xp: Any, x: Any, y: Any) -> Any:
        return plain["add"](xp, settled(x), settled(y))

    def view(xp: Any, x: Any, **attrs: Any) -> Any:
        return plain["view"](xp, settled(x), **attrs)

    def kv_write(xp: Any, kv: Any, k: Any, v: Any, *rest: Any, **attrs: Any) -> Any:
        return plain["kv_write"](xp, kv, bf(k), bf(v), *rest, **attrs)

    for function in (linear, add, view, kv_write, rmsnorm, experts):
        patch.setattr(OPS[function.__name__], "_reference", function)


@dataclass
class Machine:
    """Memory of one kernel: weights packed, KV and packets as a launch leaves them. matrices: of
    params that are more than rounded to bf16, what `fill` takes. rank: of the program's ranks."""

    made: Program
    library: ctypes.CDLL
    params: dict[str, Any]
    pages: np.ndarray
    kv: np.ndarray
    matrices: dict[str, Any] = field(default_factory=dict[str, Any])
    rank: int = 0

    def __post_init__(self) -> None:
        made, names = self.made, self.made.plan.params
        self.stream = np.zeros(size(made) // 2, np.uint16)
        fill(self.stream, made, lambda i: self.matrix(names[i]))
        self.pool = pool(made, lambda i: self.params[names[i]])
        self.embed = bf16(self.params[names[made.embed]])
        shape = made.plan.shape
        count = made.packets + ballots(shape.rows, made.plan.workers)
        self.packets = np.zeros((count, 4), np.uint32)
        self.peers = [self.packets.ctypes.data]  # of all ranks
        layout = Layout(shape.rows, shape.vocab * shape.ranks)
        self.boxes = Boxes(layout, np.zeros((2, layout.words), np.uint32))
        self.allowed = np.zeros(1, np.uint32)
        self.sheet = np.zeros(words(shape.rows, self.pages.shape[1]), np.uint32)
        self.seats = Seats(shape.rows, self.pages.shape[1], self.sheet)
        self.tokens = np.zeros((0, shape.rows, 4), np.uint32)
        self.logits = np.zeros((shape.rows, shape.vocab), np.float32)
        self.epoch = 0
        self.error = np.zeros(8, np.uint32)

    def matrix(self, name: str) -> Any:
        """A param as it is packed."""
        return self.matrices[name] if name in self.matrices else bf16(self.params[name])

    def run(
        self,
        begin: list[tuple[int, int]],
        steps: int,
        seed: int = 0,
        mute: tuple[int, int] = (NEVER, NEVER),
        rules: str = "",
        seated: bool = False,
    ) -> tuple[bool, np.ndarray, np.ndarray]:
        """(whole, tokens [steps, rows], logits [rows, V] of the last step). rules: "same" for the
        first box in all steps, "each" for a box a step and `allowed`. seated: rows may change hands
        by `seats`; all steps are allowed."""
        whole = launch([self.args(begin, steps, mute, rules, seated)], self.library, seed)
        return whole, self.tokens[..., 0], self.logits

    def args(
        self,
        begin: list[tuple[int, int]],
        steps: int,
        mute: tuple[int, int] = (NEVER, NEVER),
        rules: str = "",
        seated: bool = False,
    ) -> Args:
        """Of a launch, which `tokens` and `logits` are of from now on."""
        rows, vocab = self.made.plan.shape.rows, self.made.plan.shape.vocab
        tokens = self.tokens = np.zeros((steps, rows, 4), np.uint32)
        logits = self.logits = np.full((rows, vocab), np.nan, np.float32)
        first = np.array(begin, np.int32)
        if seated:
            self.allowed[0] = steps
        at, counters = self.made.counters
        self.packets[at : at + counters] = 0
        claimed, at, table = np.zeros(1, np.uint32), starts(self.made), ranges(self.made)
        shape = (self.made.plan.workers, self.made.phases_a_step, 9, 8)
        trace = self.trace = np.zeros(shape, np.uint32)
        arrays = self._kept = (
            self.stream,
            at,
            table,
            self.pool,
            self.embed,
            self.kv,
            self.pages,
            self.packets,
            logits,
            first,
            tokens,
            self.error,
            claimed,
            trace,
        )
        state = self.kv[0].nbytes
        args = Args(
            *(a.ctypes.data for a in arrays), state,
            self.boxes.memory.ctypes.data if rules else 0,
            self.allowed.ctypes.data if rules == "each" or seated else 0,
            self.sheet.ctypes.data if rules == "each" or seated else 0,
            self.boxes.layout.words, vocab, self.made.packets, rules == "same",
            self.epoch, steps, self.pages.shape[1], *mute, self.rank, peers(self.peers),
        )  # fmt: skip
        self.epoch += steps * self.made.phases_a_step
        return args


def launch(args: list[Args], library: ctypes.CDLL, seed: int) -> bool:
    """Runs all ranks together. Whether none of them waited in vain."""
    every = (Args * len(args))(*args)
    return library.treadle_mega_host(every, ctypes.c_uint64(seed)) == 0
