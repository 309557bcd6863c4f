"""Every trick of the corpus is refused, with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from arena import DRAW, PROBS, Entered, entered
from cheats import CHEATS, SAMPLERS, Cheat

from treadle.kernels.run.refusal import Refused

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entered]:
    with entered(tmp_path_factory.mktemp("cache")) as match:
        yield match


@pytest.fixture(scope="module")
def draws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entered]:
    cache: Path = tmp_path_factory.mktemp("cache")
    with entered(cache, PROBS, DRAW, passing=False) as match:
        yield match


def refused(match: Entered, cheat: Cheat) -> None:
    with pytest.raises(Refused) as caught:
        match(cheat.body, passing=cheat.passing)
    wrong = caught.value
    found = (wrong.status, wrong.code, wrong.text)
    assert wrong.code in cheat.found or wrong.status in cheat.found, found


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda c: c.code)
def test_cheat_is_refused(linear: Entered, cheat: Cheat) -> None:
    refused(linear, cheat)


@pytest.mark.parametrize("cheat", SAMPLERS, ids=lambda c: c.code)
def test_biased_sampler_is_refused(draws: Entered, cheat: Cheat) -> None:
    refused(draws, cheat)


def test_honest_sampler_passes(draws: Entered) -> None:
    assert draws(DRAW, passing=False).audits > 0


def test_the_corpus_is_large_enough() -> None:
    codes = [c.code for c in CHEATS + SAMPLERS]
    assert len(set(codes)) == len(codes) >= 40
    assert sum(not c.public for c in CHEATS) >= 10
