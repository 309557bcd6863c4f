"""The cache's own count of its bytes against what the allocator says is in use."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import ctypes, gc, json, sys
sys.path.insert(0, {tests!r})
import vocabularies
from schema_data import DATA, load
from treadle.errors import TreadleError
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

def in_use():
    gc.collect()
    info = mallinfo()
    return info.uordblks + info.hblkhd

vocab = Vocab(vocabularies.small())
compiler = Compiler(vocab)
rows = mask_rows(1, vocab.size)
texts = [json.dumps(entry["schema"]) for entry in load(DATA / "maskbench.json")]
before = in_use()
for text in texts:
    try:
        matcher = compiler.compile(Grammar.json_schema(text)).matcher()
    except TreadleError:
        continue
    for byte in b'{{"a":':
        matcher.fill(rows, 0)
        if not matcher.accept_bytes(bytes([byte])):
            break
del matcher
after = in_use()
counted = compiler.memory
compiler.clear()
print(json.dumps([counted, after - before, in_use() - before]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallinfo2 is glibc's")
def test_the_count_is_what_is_held() -> None:
    code = CHILD.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    counted, held, left = json.loads(done.stdout)
    print(f"counted {counted}, held {held}, left after clear() {left}")
    assert counted > 1 << 20
    assert 0.75 < counted / held < 1.25
    assert left < counted / 4
