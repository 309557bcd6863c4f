"""Fuzz target: the GGUF reader must answer every file with tensors or a typed error.

`python tests/fuzz/targets/gguf.py [libFuzzer flags]` runs atheris where it is installed (coverage
guided, endless; a flag such as -max_total_time=60 ends it). `--replay N` mutates the committed
corpus N times without it. The property: no exception but TreadleError, every tensor inside the
file, none over another, and all of it readable.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

CORPUS = Path(__file__).parents[1] / "corpus" / "gguf"


def check(data: bytes, path: Path) -> bool:
    """One case, through a file because the reader maps files. True if it was well-formed."""
    from treadle.errors import TreadleError
    from treadle.limits import Limits
    from treadle.models.gguf import GgufFile
    from treadle.models.quant import dequantise

    path.unlink(missing_ok=True)  # a new file is much cheaper than a truncated one on ext4
    path.write_bytes(data)
    refusal = ""
    try:
        file = GgufFile.open(path, replace(Limits(), gguf_array_items=10_000))
    except TreadleError as error:
        refusal, file = str(error), None
    if file is None:
        assert str(path) in refusal, f"an error without its place: {refusal}"
        return False
    sizes = [tensor.data.nbytes for tensor in file.tensors.values()]
    assert sum(sizes) <= len(data), "tensors are larger than their file"
    for tensor in file.tensors.values():
        assert dequantise(tensor).shape == tensor.shape
    return True


def mutants(count: int, seed: int = 0) -> Iterator[bytes]:
    """The corpus, then files made from it by a few seeded edits each."""
    seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    yield from seeds
    draw = random.Random(seed)
    edges = [0, 1, 7, 8, 31, 32, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]
    for _ in range(count - len(seeds)):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data) + 1)
            match draw.randrange(5):
                case 0 if at < len(data):
                    data[at] ^= 1 << draw.randrange(8)
                case 1:  # numbers in this format are 4 or 8 bytes wide
                    data[at : at + 8] = draw.choice(edges).to_bytes(8, "little")
                case 2:
                    data[at : at + 4] = (draw.choice(edges) % (1 << 32)).to_bytes(4, "little")
                case 3:
                    del data[at : at + draw.randint(1, 16)]
                case _:
                    other = draw.choice(seeds)
                    data[at:at] = other[draw.randrange(len(other) + 1) :][: draw.randint(1, 64)]
        yield bytes(data)


def replay(count: int, path: Path) -> tuple[int, int]:
    """Runs `count` cases; returns how many were tried and how many were well-formed."""
    results = [check(data, path) for data in mutants(count)]
    return len(results), sum(results)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.gguf"
        if "--replay" in sys.argv:
            count = int(sys.argv[sys.argv.index("--replay") + 1])
            print("{} cases, {} well-formed".format(*replay(count, path)))
            return
        try:
            import atheris
        except ImportError:
            sys.exit("atheris is not installed: use --replay N, or `pip install atheris`")
        with atheris.instrument_imports(include=["treadle"]):
            import treadle.models.gguf  # noqa: F401
        # New finds go to the first folder: a scratch one, so that the committed corpus stays small.
        found = Path(folder) / "found"
        found.mkdir()
        folders = [str(found), str(CORPUS)]
        atheris.Setup([*sys.argv, *folders], lambda data: check(data, path) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
