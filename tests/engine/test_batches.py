"""What the loop keeps from step to step equals what it would build afresh."""

import random

import numpy as np
from msgspec.structs import fields

from treadle.engine.batches import Batches
from treadle.engine.masks import Masks
from treadle.engine.request import Request, Sequence, Submit
from treadle.engine.scheduler import Slice
from treadle.types import Sampling

SIZE, VOCAB, ENDS = 4, 70, (3, 69)


def sequence(number: int, rng: random.Random) -> Sequence:
    sampling = Sampling(
        max_tokens=40,
        ignore_eos=rng.random() < 0.6,
        min_tokens=rng.choice([0, 0, 6]),
        stop_token_ids=(rng.randrange(VOCAB),),
    )
    return Sequence(Request(Submit(number, tuple(range(5)), sampling), 0.0), 0, 16)


def same(found, wanted) -> None:
    for field in fields(found):
        a, b = (np.asarray(getattr(of, field.name)) for of in (found, wanted))
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype == np.int32


def test_batches_and_masks_of_a_changing_set_of_sequences() -> None:
    rng = random.Random(3)
    batches, masks = Batches(SIZE), Masks(6, VOCAB, ENDS)
    living = [sequence(i, rng) for i in range(4)]
    free = list(range(200))
    rng.shuffle(free)
    for step in range(300):
        if rng.random() < 0.1:
            living[rng.randrange(len(living))] = sequence(step + 10, rng)
        if rng.random() < 0.1:  # preempted: it comes back with other pages
            seq = rng.choice(living)
            free += seq.let_go()
        plan = []
        for row, seq in enumerate(rng.sample(living, rng.choice([3, 4, 4, 4]))):
            if len(seq.ids) == 40:
                continue
            seq.row = row
            while len(seq.pages) * SIZE < len(seq.ids):
                seq.hold([free.pop(0)])
            seq.pending = rng.randrange(2)
            count = rng.choice([1] * 30 + [2])
            start = len(seq.ids) - count
            plan.append(Slice(seq, start, count, rng.random() < 0.99))
        if not plan:
            continue
        batch, rows = batches.build(plan)
        fresh, owners = Batches(SIZE).build(plan)
        same(batch, fresh)
        for i, part in enumerate(plan):  # tokens lie where the table says
            last = batch.starts[i + 1] - 1
            page = batch.table[i, batch.pos[last] // SIZE]
            assert batch.slots[last] == page * SIZE + batch.pos[last] % SIZE
            assert page == part.seq.pages[(batch.lens[i] - 1) // SIZE]
        assert rows == owners
        assert [seq for seq in rows if seq] == [part.seq for part in plan if part.draws]
        found, _ = masks.fill(rows)
        wanted, _ = Masks(6, VOCAB, ENDS).fill(rows)
        assert (found is None) == (wanted is None)
        if found is not None and wanted is not None:
            same(found, wanted)
        for part in plan:
            part.seq.ids.append(rng.randrange(VOCAB))
