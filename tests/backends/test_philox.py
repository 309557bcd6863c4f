"""Philox4x32-10 against the published vectors, and its three faces against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from treadle.backends.philox import (
    GUMBEL_MAX,
    GUMBEL_MIN,
    all_words,
    gumbel,
    one_word,
    philox,
    words,
)

# kat_vectors of Random123 (philox4x32, 10 rounds): counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_known_answers(counter, key, output):
    assert philox(*counter, *key) == output
    for xp in (np, torch):
        made = philox(*(xp.asarray([c]) for c in (*counter, *key)))
        assert tuple(int(word[0]) for word in made) == output


@pytest.mark.parametrize("xp", [np, torch])
def test_every_face_gives_a_token_the_same_word(xp):
    keys = np.array([[1], [2**63 + 12345], [2**64 - 1]], np.uint64)
    steps = np.array([[0], [77], [2**31 - 1]])
    k, s = xp.asarray(keys.view(np.int64)), xp.asarray(steps)
    table = np.asarray(all_words(xp, 1001, k, s))
    ids = np.random.default_rng(0).permutation(1001)[None]
    np.testing.assert_array_equal(np.asarray(words(xp, xp.asarray(ids), k, s)), table[:, ids[0]])
    for row, key, step in zip(table, keys[:, 0].tolist(), steps[:, 0].tolist(), strict=True):
        assert [one_word(i, key, step) for i in range(1001)] == row.tolist()
    block = philox(77, 3, 0, 0, keys[1, 0].item() & 0xFFFFFFFF, keys[1, 0].item() >> 32)
    assert table[1, 12:16].tolist() == list(block)  # counter = (step, id / 4), one word an id


@pytest.mark.parametrize("xp", [np, torch])
def test_noise_is_finite_within_its_bounds_and_falls_with_the_word(xp):
    ends = xp.asarray([0, 1, 2, 3, 1 << 16, 1 << 24, 1 << 31, (1 << 32) - 2, (1 << 32) - 1])
    noise = np.asarray(gumbel(xp, ends))
    assert np.isfinite(noise).all()
    assert noise.max() <= GUMBEL_MAX
    assert noise.min() >= GUMBEL_MIN
    assert (np.diff(noise) <= 0).all()
    assert (np.diff(noise[:5]) < 0).all()  # all 32 bits count where it matters


def test_noise_has_the_gumbel_distribution():
    noise = np.sort(gumbel(np, all_words(np, 200_000, np.array([3]), np.array([0]))))
    grid = (np.arange(len(noise)) + 0.5) / len(noise)
    assert (
        np.abs(np.exp(-np.exp(-noise.astype(np.float64))) - grid).max() < 1.95 / len(noise) ** 0.5
    )
