"""What `fuse` makes of a graph: phases in order, each with the recipe of its input."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.mega.records import Act, Code


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMS norm: the param that scales it and its eps."""

    weight: str
    eps: float


@dataclass(frozen=True, slots=True)
class Heads:
    """Constants of an attention: head counts, KV state and the prologue of q and k. freq: "" where
    nothing is turned."""

    heads: int
    kv_heads: int
    head: int
    state: str
    freq: str
    scale: float
    window: int = 0
    cap: float = 0.0
    mscale: float = 1.0
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How rows are read: h = norm(base + post(sum of terms)); names are buffers, "" = none.

    width: elements of a row. wanted: the rows are the R wanted ones; take: they are gathered by
    `rows`. fold: base holds partials of
    that attention. staged: base holds what PREP wrote. `versions`:
    how often base and terms had been written when this recipe was made.
    """

    width: int
    base: str = ""
    terms: str = ""
    post: Norm | None = None
    norm: Norm | None = None
    wanted: bool = False
    take: bool = False
    fold: Heads | None = None
    staged: bool = False
    versions: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Route:
    """Constants of a router: E experts, A of them active, scores by softmax or sigmoid."""

    experts: int
    active: int
    sigmoid: bool
    renorm: bool


@dataclass(frozen=True, slots=True)
class Phase:
    """The work between two boundaries: one op over all workers.

    out: buffer written, `n` elements a row. store: buffer that takes the loader's sum. rows: of
    each weight. add: the output is added to what `out` holds. terms: the output is one term of a
    sum that its reader makes; reduce: of a sum over ranks too.
    """

    code: Code
    load: Load
    out: str
    n: int
    store: str = ""
    weights: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    act: Act = Act.NONE
    scale: float = 1.0
    cap: float = 0.0
    add: bool = False
    terms: bool = False
    reduce: bool = False
    heads: Heads | None = None
    route: Route | None = None
