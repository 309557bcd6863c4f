"""The leaderboard: right sums, escaped strangers, whole links, numbers proved, pages that show."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import planted
import pytest
import screens
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels import board, command
from treadle.kernels.board import svg
from treadle.kernels.board.facts import ceilings, gather
from treadle.kernels.board.pages import path
from treadle.kernels.board.plots import crossovers
from treadle.kernels.board.standings import GRID, curve, of_authors, of_definition
from treadle.kernels.schema import Environment, Performance, RandomInput, Source, Trace, Workload
from treadle.kernels.store import Dataset

EVIL = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = "<img src=x onerror=alert(3)>"
GPU = "cuda:Planted"
BYTES = 1e9  # of each device, a second
GEMM = planted.gemm(64, 32)
RATIOS = {"swift": {1: 2.0, 4: 1.5, 64: 0.5}, HOSTILE: {1: 1.02, 4: 1.0, 64: 0.99}}
COUNTS = {1: 3, 4: 1, 64: 1, 1000: 1}


def _moved(m: int) -> int:
    return 4 * (m * 32 + 64 * 32 + m * 64)


def _trace(name: str, m: int, ratio: float, device: str = planted.DEVICE, **more) -> Trace:
    verdict = "FAST" if ratio > 1.1 else "SLOW" if ratio < 0.9 else "SAME"
    roof = _moved(m) / BYTES * 1e3
    slack = 2.0 if device.startswith("cpu") else 1.25
    row = planted.trace(
        GEMM, name, {"M": m}, (ratio * 0.99, ratio * 1.01), verdict=verdict, device=device,
        floor_ms=roof / slack, baseline="plain", noise_floor=0.002, **more,
    )  # fmt: skip
    run = row.evaluation
    if run.performance is None:
        return row
    base = 4 * roof
    times = Performance(latency_ms=base / ratio, reference_latency_ms=base, speedup_factor=ratio)
    return Trace(
        definition=row.definition, workload=row.workload, solution=row.solution,
        evaluation=type(run)(
            status=run.status, environment=run.environment, timestamp=run.timestamp,
            correctness=run.correctness, performance=times,
        ),
    )  # fmt: skip


def _refused(name: str, m: int) -> Trace:
    row = planted.trace(GEMM, name, {"M": m}, status="RUNTIME_ERROR", device=planted.DEVICE)
    libs = {**row.evaluation.environment.libs, "treadle.refused": "stale_ptr"}
    return Trace(
        definition=row.definition, workload=row.workload, solution=name,
        evaluation=type(row.evaluation)(
            status="RUNTIME_ERROR", timestamp=row.evaluation.timestamp, log=EVIL,
            environment=Environment(hardware=planted.DEVICE, libs=libs),
        ),
    )  # fmt: skip


def _dataset(root: Path) -> Dataset:
    swift = planted.solution(GEMM, "swift", "def run(A, B):\n    return A @ B.T\n")
    evil = planted.solution(GEMM, HOSTILE, "x")
    evil = type(evil)(
        name=HOSTILE, definition=GEMM.name, author="<b>planter<b>",
        spec=evil.spec, sources=[Source(path="m.py", content=EVIL)], description=EVIL,
    )  # fmt: skip
    rows = [_trace("swift", m, r) for m, r in RATIOS["swift"].items()]
    rows += [_trace("swift", 1, 9.0, when=0)]  # an earlier run, which the next one replaces
    rows += [_trace("swift", 1, 2.0, when=5, setup_ms=12.5)]
    rows += [_trace(HOSTILE, m, r, nondeterministic=True) for m, r in RATIOS[HOSTILE].items()]
    rows += [_trace("swift", 4, 3.0, device=GPU, delegate=True), _refused(HOSTILE, 1000)]
    data = planted.dataset(root, GEMM, swift, evil, traces=())
    data.add(planted.decode())  # nobody has measured it
    for m, count in COUNTS.items():
        row = Workload(uuid=f"M{m}", axes={"M": m}, inputs=dict.fromkeys("AB", RandomInput()),
                       treadle={"count": count})  # fmt: skip
        data.append(Trace(definition=GEMM.name, workload=row), flush=False)
    for row in rows:
        data.append(row, "planter", flush=False)
    return data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root, out = tmp_path_factory.mktemp("planted"), tmp_path_factory.mktemp("site")
    _dataset(root).close()
    assert command.main(["board", "--root", str(root), "--out", str(out)]) == 0
    return root, out


class _Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data


def test_sums_are_those_of_the_method_page(site):
    facts = gather(Dataset(site[0], readonly=True))
    swift, hostile = of_definition(facts, GEMM.name, planted.DEVICE)
    weights = {1: 3, 4: 1, 64: 1}
    logs = [w * math.log(RATIOS["swift"][m]) for m, w in weights.items()]
    assert swift.mean == pytest.approx(math.exp(sum(logs) / 5))
    assert swift.deployable == pytest.approx(math.exp(sum(logs) / 6))  # M = 1000 counts as 1
    assert swift.counts == {
        "FAST": 2, "SAME": 0, "SLOW": 1, "UNCLEAR": 0, "failed": 0, "unmeasured": 1
    }  # fmt: skip
    assert (hostile.counts["failed"], hostile.refused, hostile.covered) == (1, ("stale_ptr",), 4)
    assert (swift.setup, hostile.setup) == (12.5, None)  # the newest run's, in no ratio
    page = _Page(site[1] / path("definition", GEMM.name))
    assert "12.5 ms" in page.text
    assert swift.roof == pytest.approx(swift.mean / 4)  # the baseline takes four times the roof
    bandwidth, peak = ceilings(facts, planted.DEVICE)
    assert bandwidth == pytest.approx(BYTES)
    assert peak is None  # nothing was bound by it
    names = [row.name for row in of_authors(facts, {GEMM.name: [swift, hostile]}, planted.DEVICE)]
    assert names == ["planter · python", "<b>planter<b> · python"]
    gpu = json.loads((site[1] / "api" / path("definition", GEMM.name, "json")).read_text())
    assert gpu["devices"][GPU][0]["labels"] == ["delegate"]
    assert gpu["devices"][GPU][0]["verdicts"]["unmeasured"] == 3


def test_fast_p_counts_every_workload_and_its_band_holds_it(site):
    facts = gather(Dataset(site[0], readonly=True))
    swift, _ = of_definition(facts, GEMM.name, planted.DEVICE)
    found = curve(swift)
    at = dict(zip(GRID, zip(found.low, found.share, found.high, strict=True), strict=True))
    assert at[1.0][1] == 2 / 4
    assert at[0.25][1] == 3 / 4
    assert at[16.0] == (0.0, 0.0, 0.0)
    assert at[1.0][0] == 0.0  # two of four: few workloads say little
    assert at[1.0][2] >= 0.75
    assert all(low <= share <= high for low, share, high in at.values())
    assert list(found.share) == sorted(found.share, reverse=True)


def test_text_of_strangers_is_shown_and_never_obeyed(site):
    _, out = site
    shown = 0
    for file in out.rglob("*.html"):
        page = _Page(file)
        assert not page.tags & {"script", "img", "iframe", "object", "form"}, file
        for name, value in page.attributes:
            assert not name.startswith("on"), (file, name)
            assert name != "style", (file, value)
            assert not re.match(r"\s*(javascript|data|https?):", value), (file, value)
        shown += EVIL in page.text
    assert shown == 2  # as source and description of the solution, as log of the trace
    assert "Content-Security-Policy" in (out / "index.html").read_text()


def test_every_link_leads_to_a_file(site):
    _, out = site
    links = 0
    for file in out.rglob("*.html"):
        for name, value in _Page(file).attributes:
            if name == "href":
                links += 1
                assert (file.parent / value.partition("#")[0]).is_file(), (file, value)
    assert links > 60
    for file in out.rglob("*.json"):
        json.loads(file.read_text())
    assert (out / "index.html").stat().st_size < 300_000
    found = json.loads((out / "api" / "board.json").read_text())
    assert all((out / place).is_file() for place in found["definitions"].values())


def test_check_finds_one_altered_number(site, capsys, tmp_path):
    root, out = site
    line = ["board", "check", "--root", str(root), "--out", str(out)]
    assert command.main(line) == 0
    page = out / path("definition", GEMM.name)
    good = page.read_text()
    picture = re.search(r'<circle cx="([\d.]+)"', good)
    assert picture is not None
    for right, wrong in (("1.43×", "1.44×"), (picture.group(), '<circle cx="99.9"')):
        assert right in good, right
        page.write_text(good.replace(right, wrong, 1))
        capsys.readouterr()
        assert command.main([*line, "--json"]) == 2
        (problem,) = json.loads(capsys.readouterr().out)["problems"]
        assert problem["at"].startswith(f"{path('definition', GEMM.name)} line ")
        assert "is not in the index" in problem["message"]
    (out / "extra.html").write_text("<p>17 times as fast")
    page.unlink()
    assert command.main(line) == 2
    said = capsys.readouterr().out
    assert "extra.html: is not in the index" in said
    assert "is missing" in said
    (out / "extra.html").unlink()
    assert command.main(["board", "--root", str(root), "--out", str(out)]) == 0
    assert page.read_text() == good  # the same dataset, the same bytes
    with pytest.raises(NotFound, match="no board"):
        list(board.check(Dataset(root, readonly=True), tmp_path))
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InvalidRequest, match="no board"):
        board.build(Dataset(root, readonly=True), tmp_path)


def test_a_figure_puts_marks_where_their_values_are():
    x = svg.Scale(1.0, 100.0, "size", ticks=((1.0, "1"), (10.0, "10"), (100.0, "100")))
    figure = svg.Figure("a <title>", x, svg.share_scale("share"))
    figure.band(0, [(1, 0.1), (100, 0.2)], [(1, 0.3), (100, 0.4)])
    figure.line(0, [(1, 0.0), (10, 0.5), (100, 1.0), (math.nan, 0.5)])
    figure.point(1, 10, 0.5, 0.25, 0.75, tip='"&', href="a.html")
    figure.legend(0, "x" * 99)
    text = figure.text(style="path{}")
    assert text == figure.text(style="path{}")
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text == "a <title>"
    left, right, top, floor = svg.LEFT, svg.WIDTH - svg.RIGHT, svg.TOP, svg.HEIGHT - svg.BOTTOM
    middle, centre = svg.number((left + right) / 2), svg.number((top + floor) / 2)
    paths = {p.get("class"): p.get("d") for p in root.iter(f"{space}path")}
    assert paths["line s0"].startswith(f"M{left} ")  # the legend's, drawn last
    lines = [p.get("d") for p in root.iter(f"{space}path") if p.get("class") == "line s0"]
    assert lines[0] == f"M{left} {floor}L{middle} {centre}L{right} {top}"
    assert paths["band s0"].count("L") == 3
    assert paths["band s0"].endswith("Z")
    dot = next(root.iter(f"{space}circle"))
    assert (dot.get("cx"), dot.get("cy")) == (middle, centre)
    ticks = [t for t in root.iter(f"{space}text") if t.get("class") == "tick"]
    assert [t.text for t in ticks[5:]] == ["1", "10", "100"]
    assert [t.get("x") for t in ticks[5:]] == [str(left), middle, str(right)]
    assert next(t for t in root.iter(f"{space}text") if t.get("class") == "key").text.endswith("…")


@given(st.floats(1e-12, 1e12), st.floats(1.01, 1e9), st.sampled_from([2, 10]))
def test_a_log_axis_holds_its_values_and_few_ticks(low, ratio, base):
    high = low * ratio
    axis = svg.log_scale([low, high], "x", base=base)
    assert axis.low < low < high < axis.high
    assert 1 <= len(axis.ticks) <= 24
    assert all(axis.low <= v <= axis.high for v, _ in axis.ticks)
    assert 0 <= axis.at(low) < axis.at(high) <= 1


@given(st.floats(0.2, 0.8), st.floats(-0.9, 0.9), st.floats(1.1, 4.0))
def test_curves_cross_where_their_formulas_are_equal(share, slope, gap):
    where = 2.0 ** (10 * share)
    sizes = [2.0**i for i in range(11)]
    one = [(s, (s / where) ** slope) for s in sizes]
    other = [(s, (s / where) ** (slope + gap)) for s in sizes]
    ((at, first, last),) = crossovers({"one": one, "other": other})
    assert (first, last) == ("other", "one")
    assert at == pytest.approx(where, rel=1e-6)


needs_chromium = pytest.mark.skipif(
    screens.CHROMIUM is None, reason="no Chromium: scripts/system_packages.sh browser installs it"
)


@needs_chromium
@pytest.mark.web
def test_pages_paint_in_both_schemes_and_fit_a_phone(site, tmp_path):
    _, out = site
    kinds = ("definition", "solution", "trace", "device")
    pages = [out / "index.html", out / "method.html"]
    pages += [file for kind in kinds for file in sorted((out / kind).glob("*.html"))[:2]]
    found = screens.widths(pages, tmp_path, 360)
    assert found == [360] * len(pages), dict(zip((p.name for p in pages), found, strict=True))
    page = out / path("definition", GEMM.name)
    for dark, paper, curve_colour in (
        (False, (0xFB, 0xFA, 0xF6), (0x12, 0x80, 0x6A)),
        (True, (0x15, 0x16, 0x17), (0x3F, 0xB9, 0x96)),
    ):
        shot = screens.screenshot(page, tmp_path, 1000, 1000, dark=dark)
        assert shot.shape == (1000, 1000, 3)
        same = (shot == np.array(paper, np.uint8)).all(2)
        assert same.mean() > 0.6
        assert same[:, -1].mean() > 0.95  # a margin, but for the header's line
        drawn = (shot == np.array(curve_colour, np.uint8)).all(2)
        assert drawn.sum() > 200, "no curve in its colour"
        assert np.ptp(np.nonzero(drawn)[1]) > 150, "the curve spans its figure"
