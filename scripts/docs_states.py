"""docs/grammar-states.svg: the states and masks of a small grammar over a small vocabulary.

Everything drawn is asked of the engine: which tokens each mask allows, and which texts leave the
same future and so are one state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
from treadle.grammar.matcher import Matcher
from treadle.types import TokenKind, TokenTable

PATTERN = r'\{"ok":(true|false)\}'
TEXTS = ["{", '{"', '"', "ok", '":', ":", '"ok":', "t", "true", "rue", "fal", "false", "se"]
TEXTS += ["}", "true}", "x"]
STOP = "</s>"
DEPTH = 8  # tokens looked ahead to tell two states apart: more than any text here has
INK, GREY, BLUE, GREEN = "#111", "#777", "#0072b2", "#009e73"
FONT = "font-family='DejaVu Sans Mono, Menlo, Consolas, monospace'"
STEP, MIDDLE, RADIUS, TOP = 128, 196, 15, 306
CELL, ROW, GUTTER = 46, 25, 252


@dataclass
class State:
    """A state: the shortest text that reaches it, its mask, and where each legal token leads."""

    text: str
    mask: tuple[bool, ...]
    texts: list[str] = field(default_factory=list)
    edges: dict[int, int] = field(default_factory=dict)


def picture() -> str:
    """The SVG."""
    states = explore()
    columns = max(distances(states))
    wide = max(GUTTER + CELL * (len(TEXTS) + 1) + 26, 44 + STEP * columns + 44)
    high = TOP + 64 + ROW * len(states) + 20
    out = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {high}' width='{wide}' "
        f"height='{high}' {FONT} font-size='12'>",
        "<defs><marker id='tip' markerWidth='8' markerHeight='8' refX='7' refY='3' orient='auto'>"
        f"<path d='M0 0L7 3L0 6z' fill='{GREY}'/></marker></defs>",
        f"<rect width='{wide}' height='{high}' fill='white'/>",
        words(20, 26, f"regex {PATTERN}: states, and the tokens that lead on", size=14, bold=True),
        *graph(states),
        *table(states, TOP),
    ]
    return "\n".join([*out, "</svg>"]) + "\n"


def explore() -> list[State]:
    """All states, by breadth first over tokens; texts with the same future are one state."""
    tokens = [text.encode() for text in TEXTS]
    kinds = (TokenKind.NORMAL,) * len(tokens) + (TokenKind.CONTROL,)
    table = TokenTable((*tokens, STOP.encode()), kinds, (len(tokens),))
    compiled = Compiler(Vocab(table)).compile(Grammar.regex(PATTERN))
    found: dict[object, int] = {}
    states: list[State] = []
    waiting: list[tuple[Matcher, str, State | None, int]] = [(compiled.matcher(), "", None, 0)]
    while waiting:
        matcher, text, before, token = waiting.pop(0)
        key = future(matcher, DEPTH)
        if key not in found:
            found[key] = len(states)
            states.append(State(text, legal(matcher)))
            for number, allowed in enumerate(states[-1].mask):
                if allowed and number < len(TEXTS):
                    after = matcher.fork()
                    after.accept(number)
                    waiting.append((after, text + TEXTS[number], states[-1], number))
        here = states[found[key]]
        if text not in here.texts:  # another tokenisation of one text is no news
            here.texts.append(text)
        if before is not None:
            before.edges[token] = found[key]
    return in_order(states)


def in_order(states: list[State]) -> list[State]:
    """The states by how far they are, numbered so."""
    ranks = distances(states)
    order = sorted(range(len(states)), key=lambda number: (ranks[number], number))
    name = {old: new for new, old in enumerate(order)}
    for state in states:
        state.edges = {token: name[target] for token, target in state.edges.items()}
    return [states[old] for old in order]


def distances(states: list[State]) -> list[int]:
    """Tokens on the longest way from the start; the graph has no loops."""
    rank = [0] * len(states)
    for _ in states:
        for number, state in enumerate(states):
            for target in state.edges.values():
                rank[target] = max(rank[target], rank[number] + 1)
    return rank


def legal(matcher: Matcher) -> tuple[bool, ...]:
    """The mask: a flag a token."""
    rows = mask_rows(1, len(TEXTS) + 1)
    matcher.fill(rows)
    word = memoryview(rows).cast("B").cast("I")[0]
    return tuple(bool(word >> number & 1) for number in range(len(TEXTS) + 1))


def future(matcher: Matcher, depth: int) -> object:
    """Masks of everything that may follow within `depth` tokens."""
    mask = legal(matcher)
    if depth == 0:
        return mask
    after: list[object] = []
    for number, allowed in enumerate(mask[:-1]):
        if allowed:
            next_matcher = matcher.fork()
            next_matcher.accept(number)
            after.append((number, future(next_matcher, depth - 1)))
    return (mask, tuple(after))


def places(states: list[State]) -> list[tuple[float, float]]:
    """Columns by how far the text is, rows where several stand in one column."""
    rank = distances(states)
    out: list[tuple[float, float]] = []
    for number in range(len(states)):
        mates = [other for other in range(len(states)) if rank[other] == rank[number]]
        shift = (mates.index(number) - (len(mates) - 1) / 2) * 92
        out.append((44 + STEP * rank[number], MIDDLE + shift))
    return out


def graph(states: list[State]) -> list[str]:
    """Circles and arrows. Tokens that skip a column are arcs, the longer the higher."""
    at = places(states)
    out: list[str] = []
    for number, state in enumerate(states):
        for target in dict.fromkeys(state.edges.values()):
            names = [TEXTS[t] for t, other in state.edges.items() if other == target]
            over = any(at[number][0] < x < at[target][0] and y == MIDDLE for x, y in at)
            far = over or at[target][0] - at[number][0] > 2 * STEP
            out += arrow(at[number], at[target], "  ".join(names), arc=far)
    for number, state in enumerate(states):
        x, y = at[number]
        if state.mask[-1]:
            out.append(
                f"<circle cx='{x}' cy='{y}' r='{RADIUS + 4}' fill='white' stroke='{GREEN}'/>"
            )
        colour = GREEN if state.mask[-1] else BLUE
        out.append(
            f"<circle cx='{x}' cy='{y}' r='{RADIUS}' fill='white' stroke='{colour}' "
            "stroke-width='2'/>"
        )
        out.append(words(x, y + 4, str(number), anchor="middle", bold=True))
    return out


def arrow(
    start: tuple[float, float], end: tuple[float, float], label: str, *, arc: bool
) -> list[str]:
    """An arrow with its tokens above; an arc where a straight one would meet a state."""
    (x1, y1), (x2, y2) = start, end
    columns = round((x2 - x1) / STEP)
    lift = 26 + 36 * columns if arc else 0
    high = min(y1, y2) - lift if lift else (y1 + y2) / 2
    slope = (y2 - y1) / max(x2 - x1, 1)
    if lift:
        x1, y1, x2, y2 = x1 + RADIUS * 0.6, y1 - RADIUS * 0.8, x2 - RADIUS * 0.5, y2 - RADIUS - 3
    else:
        x1, y1, x2, y2 = x1 + RADIUS, y1 + slope * RADIUS, x2 - RADIUS - 4, y2 - slope * RADIUS
    middle = (x1 + x2) / 2
    path = f"M{x1:.0f} {y1:.0f}Q{middle:.0f} {high - lift * 0.2:.0f} {x2:.0f} {y2:.0f}"
    peak = (y1 + y2) / 4 + (high - lift * 0.2) / 2
    return [
        f"<path d='{path}' fill='none' stroke='{GREY}' marker-end='url(#tip)'/>",
        words(middle, peak - (6 if y1 == y2 else 11), label, anchor="middle", halo=True),
    ]


def table(states: list[State], top: float) -> list[str]:
    """One row a state: which tokens are legal, and the texts that are this state."""
    out = [words(20, top, "masks", size=14, bold=True)]
    for column, text in enumerate([*TEXTS, STOP]):
        out.append(words(GUTTER + CELL * (column + 0.5), top + 44, text, anchor="middle", size=11))
    for number, state in enumerate(states):
        y = top + 56 + ROW * number
        shown = " or ".join(state.texts[:2]) or "nothing"
        out.append(words(20, y + 15, str(number), bold=True))
        out.append(words(44, y + 15, f"after {shown}", size=10, fill=GREY))
        for column, allowed in enumerate(state.mask):
            fill = (GREEN if column == len(TEXTS) else BLUE) if allowed else "#f2f2f2"
            out.append(
                f"<rect x='{GUTTER + CELL * column + 4}' y='{y}' width='{CELL - 8}' height='18' "
                f"rx='3' fill='{fill}'/>"
            )
    return out


def words(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, fill: str = INK,
    bold: bool = False, halo: bool = False,
) -> str:  # fmt: skip
    """A line of text; `halo` keeps it readable on a line."""
    weight = " font-weight='bold'" if bold else ""
    around = " stroke='white' stroke-width='4' paint-order='stroke'" if halo else ""
    return (
        f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}' font-size='{size}' fill='{fill}'"
        f"{weight}{around} xml:space='preserve'>{escape(text)}</text>"
    )
