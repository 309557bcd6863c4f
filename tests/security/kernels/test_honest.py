"""No honest solution is refused: zero false alarms over the corpus."""

from __future__ import annotations

from collections.abc import Iterator

import honest
import pytest
from arena import Entered, entered

from treadle.kernels.definitions import define
from treadle.kernels.run.player import Player
from treadle.kernels.run.refusal import Refused

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entered]:
    with entered(tmp_path_factory.mktemp("cache")) as match:
        yield match


@pytest.fixture(scope="module")
def norm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entered]:
    definition = define("rmsnorm", "rmsnorm_h48", {"D": 48}, act="f32", attrs={"eps": 1e-5})
    base = honest.norm(honest.NORM["plain"])
    with entered(tmp_path_factory.mktemp("cache"), definition, base, passing=False) as match:
        yield match


def passes(match: Entered, source: str, *, passing: bool) -> None:
    try:
        outcome = match(source, passing=passing)
    except Refused as wrong:
        pytest.fail(f"{wrong.status} {wrong.code}: {wrong.text}")
    assert outcome.audits > 0
    assert outcome.comparison.candidate > 0
    assert not outcome.nondeterministic


@pytest.mark.parametrize("name", honest.LINEAR)
def test_honest_linear_passes(linear: Entered, name: str) -> None:
    body, passing = honest.LINEAR[name]
    passes(linear, honest.linear(body, passing=passing), passing=passing)


@pytest.mark.parametrize("name", honest.NORM)
def test_honest_norm_passes(norm: Entered, name: str) -> None:
    passes(norm, honest.norm(honest.NORM[name]), passing=False)


@pytest.mark.parametrize(("period", "refused"), [(2, False), (1, True)])
def test_a_pause_cut_short_by_the_host_is_no_proof(
    linear: Entered, monkeypatch: pytest.MonkeyPatch, period: int, refused: bool
) -> None:
    pauses: list[float] = []
    real = Player.linger

    def linger(self: Player, seconds: float) -> float:
        pauses.append(seconds)
        return real(self, seconds) + (0.03 if len(pauses) % period == 0 else 0.0)

    monkeypatch.setattr(Player, "linger", linger)
    source = honest.linear(*honest.LINEAR["matmul"][:1], passing=True)
    if refused:
        with pytest.raises(Refused, match="while nothing was asked"):
            linear(source)
    else:
        passes(linear, source, passing=True)


def test_the_corpus_is_large_enough() -> None:
    assert len(honest.LINEAR) + len(honest.NORM) >= 30
