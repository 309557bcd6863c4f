"""The cheat corpus: each entry is a code, how it is refused, and the trick.

`found` lists what the trace may say: a refusal code, or a status. Several codes of one trick stand
for the first wall that it meets, which depends on what the kernel of the machine can do.
"""

from __future__ import annotations

from typing import NamedTuple


class Cheat(NamedTuple):
    """A solution that must be refused. public: it stands in the design's table."""

    code: str
    found: tuple[str, ...]
    body: str
    passing: bool = True
    public: bool = True


WRONG = "INCORRECT_NUMERICAL"
RAISED = "RUNTIME_ERROR"

CHEATS = [
    Cheat("stale_ptr", (WRONG,), """
        import numpy as np
        seen = {}
        def run(A, B, C):
            key = A.ctypes.data, A.shape
            if key not in seen:
                seen[key] = A @ B.T
            C[...] = seen[key]
        """),
    Cheat("stale_hash", (WRONG,), """
        import numpy as np
        seen = {}
        def run(A, B, C):
            key = (A.shape, A[:1].tobytes())
            if key not in seen:
                seen[key] = A @ B.T
            C[...] = seen[key]
        """),
    Cheat("stale_last", (WRONG,), """
        import numpy as np
        last = {}
        def run(A, B, C):
            if A.shape not in last:
                last[A.shape] = A @ B.T
            C[...] = last[A.shape]
        """),
    Cheat("lazy_after", (WRONG,), """
        import numpy as np
        calls = 0
        def run(A, B, C):
            global calls
            calls += 1
            if calls < 20:
                np.matmul(A, B.T, out=C)
        """),
    Cheat("warmup_sniff", (WRONG,), """
        import numpy as np
        shapes = []
        def run(A, B, C):
            shapes.append(len(A))
            if shapes[-4:] == [len(A)] * 4:      # the same again and again: this is timing
                C[...] = 0
            else:
                np.matmul(A, B.T, out=C)
        """),
    Cheat("timer_patch", ("timer_patch",), """
        import time
        import numpy as np
        time.perf_counter = time.monotonic = lambda: 0.0
        time.perf_counter_ns = lambda: 0
        def run(A, B, C):
            np.matmul(A, B.T, out=C)
        """),
    Cheat("stats_patch", ("stats_patch",), """
        import statistics
        import numpy as np
        def run(A, B, C):
            statistics.median = np.median = lambda *a, **k: 1e-9
            np.matmul(A, B.T, out=C)
        """),
    Cheat("result_forge", ("result_forge",), """
        import os
        def run(A, B, C):
            print('{"status": "PASSED", "latency_ms": 0.0001}', flush=True)
            os._exit(0)
        """),
    Cheat("ref_read", (WRONG,), """
        import gc
        import numpy as np
        def run(A, B, C):
            for thing in gc.get_objects():
                if type(thing) is np.ndarray and thing.shape == C.shape and thing is not C:
                    C[...] = thing
                    return
        """),
    Cheat("ref_write", ("ref_write", "ref_read", "leak", "child"), """
        import ctypes, os
        def run(A, B, C):
            libc = ctypes.CDLL(None, use_errno=True)
            local = ctypes.create_string_buffer(64)
            vec = (ctypes.c_size_t * 2)(ctypes.addressof(local), 64)
            libc.syscall(311, os.getppid(), vec, 1, vec, 1, 0)
            raise PermissionError(1, "nothing was written")
        """),
    Cheat("nan_wild", (WRONG,), """
        import numpy as np
        def run(A, B, C):
            C[...] = np.nan
        """),
    Cheat("checker_patch", ("checker_patch",), """
        import numpy as np
        def run(A, B, C):
            np.allclose = np.isclose = np.array_equal = lambda *a, **k: True
            np.matmul(A, B.T, out=C)
        """),
    Cheat("empty_reuse", (WRONG,), """
        import numpy as np
        def run(A, B):
            return np.empty((len(A), len(B)), np.float32)
        """, passing=False),
    Cheat("side_stream", (WRONG, "thread_defer"), """
        import threading, time
        import numpy as np
        jobs = []
        def work():
            while True:
                if jobs:
                    A, B, C = jobs.pop()
                    for _ in range(40):
                        for row in range(len(A)):
                            np.matmul(A[row], B.T, out=C[row])
                else:
                    time.sleep(1e-5)
        threading.Thread(target=work, daemon=True).start()
        def run(A, B, C):
            jobs.append((A, B, C))
        """),
    Cheat("thread_defer", (WRONG, "thread_defer"), """
        import threading
        import numpy as np
        def run(A, B, C):
            threading.Timer(0.001, lambda: np.matmul(A, B.T, out=C)).start()
        """),
    Cheat("child", ("child",), """
        import os
        def run(A, B, C):
            if os.fork() == 0:
                C[...] = A @ B.T
                os._exit(0)
        """),
    Cheat("lazy_tensor", ("lazy_tensor",), """
        import numpy as np
        class Later(np.ndarray):
            def __array_finalize__(self, other):
                self.todo = None
        def run(A, B):
            out = np.empty((len(A), len(B)), np.float32).view(Later)
            out.todo = (A, B)
            return out
        """, passing=False),
    Cheat("mutate_input", ("mutate_input",), """
        import numpy as np
        def run(A, B, C):
            np.matmul(A, B.T, out=C)
            A[...] = 0
        """),
    Cheat("alias_out", ("alias_out",), """
        import numpy as np
        def run(A, B):
            if len(A) == 0:
                return np.zeros((0, 24), np.float32)
            return np.ndarray((len(A), len(B)), np.float32, A.base if A.base is not None else A)
        """, passing=False),
    Cheat("hog", ("thread_defer", WRONG), """
        import threading
        import numpy as np
        def burn():
            x = np.ones(1 << 14)
            while True:
                x *= 1.0000001
        threading.Thread(target=burn, daemon=True).start()
        def run(A, B, C):
            np.matmul(A, B.T, out=C)
        """),
    Cheat("global_state", ("global_state",), """
        import numpy as np
        np.seterr(all="ignore")
        def run(A, B, C):
            np.matmul(A, B.T, out=C)
        """),
    Cheat("const_out", (WRONG,), """
        def run(A, B, C):
            C[...] = 0.25
        """),
    Cheat("shape_only", (WRONG, RAISED), """
        import numpy as np
        def run(A, B, C):
            assert len(A) == 20, "only the listed shape"
            np.matmul(A, B.T, out=C)
        """),
    Cheat("seed_replay", (WRONG,), """
        import numpy as np
        def run(A, B, C):
            for seed in range(3):
                rng = np.random.default_rng(seed)
                guess = rng.standard_normal(A.shape).astype(np.float32)
                if np.array_equal(guess, A):
                    break
            C[...] = guess @ B.T
        """),
    Cheat("leak", ("leak",), """
        from pathlib import Path
        def run(A, B, C):
            found = list(Path("/etc").iterdir()) + [open("/etc/passwd").read()]
            C[...] = len(found)
        """),
    Cheat("downgrade", (WRONG,), """
        import numpy as np
        def run(A, B, C):
            C[...] = A.astype(np.float16) @ B.astype(np.float16).T
        """),
    Cheat("drop_rows", (WRONG,), """
        import numpy as np
        def run(A, B, C):
            np.matmul(A[:-1], B.T, out=C[:-1])
        """),
    Cheat("skip_tail", (WRONG,), """
        import numpy as np
        def run(A, B, C):
            whole = len(A) // 8 * 8
            C[...] = 0
            np.matmul(A[:whole], B.T, out=C[:whole])
        """),
    Cheat("short_k", (WRONG,), """
        import numpy as np
        def run(A, B, C):
            np.matmul(A[:, :-1], B[:, :-1].T, out=C)
        """),
    Cheat("weight_cache", (WRONG,), """
        import numpy as np
        kept = {}
        def run(A, B, C):
            w = kept.setdefault("w", np.ascontiguousarray(B.T))
            np.matmul(A, w, out=C)
        """),
    Cheat("log_flood", ("log_flood", "result_forge", "child"), """
        import numpy as np
        def run(A, B, C):
            for _ in range(64):
                print("x" * 65536, flush=True)
            np.matmul(A, B.T, out=C)
        """),
    Cheat("template_bomb", ("TIMEOUT",), """
        while True:
            pass
        """),
    # Ours.
    Cheat("spin_ahead", (WRONG, "thread_defer"), """
        import threading
        import numpy as np
        made, views = {}, []
        def ahead():                       # computes whatever inputs show up, before they are asked
            while True:
                for A, B in list(views[-3:]):
                    made[A.ctypes.data] = A @ B.T
        threading.Thread(target=ahead, daemon=True).start()
        def run(A, B, C):
            views.append((A, B))
            ready = made.get(A.ctypes.data)
            C[...] = ready if ready is not None and ready.shape == C.shape else A @ B.T
        """, public=False),
    Cheat("done_forge", ("result_forge", WRONG), """
        import ctypes, re
        import numpy as np
        def words():
            import gc
            return [x for x in gc.get_objects() if type(x).__name__ == "Words"]
        def run(A, B, C):
            for w in words():
                w.post(3, 1 << 40)         # DONE, far ahead
        """, public=False),
    Cheat("every_other", (WRONG,), """
        import numpy as np
        odd = False
        def run(A, B, C):
            global odd
            odd = not odd
            if odd:
                np.matmul(A, B.T, out=C)
            else:
                C[...] = 0.5 * np.abs(A[:, :1])
        """, public=False),
    Cheat("diff_only", (WRONG,), """
        import numpy as np
        old = {}
        def run(A, B, C):                  # computes only rows that look new
            key = A.shape
            if key not in old:
                old[key] = (A.copy(), A @ B.T)
            was, out = old[key]
            new = np.abs(was - A).max(-1) > 1.0
            out[new] = A[new] @ B.T
            was[new] = A[new]
            C[...] = out
        """, public=False),
    Cheat("kill_referee", ("child", "leak", RAISED), """
        import os, signal
        def run(A, B, C):
            os.kill(os.getppid(), signal.SIGKILL)
            C[...] = 0
        """, public=False),
    Cheat("read_referee", ("leak", "ref_read"), """
        import os
        def run(A, B, C):
            with open(f"/proc/{os.getppid()}/mem", "rb") as memory:
                C[...] = len(memory.read(1))
        """, public=False),
    Cheat("truncate_ring", (WRONG, RAISED, "leak"), """
        import os
        def run(A, B, C):
            for fd in range(3, 256):       # would make the referee die of SIGBUS
                try:
                    os.ftruncate(fd, 0)
                except OSError:
                    pass
        """, public=False),
    Cheat("own_handler", ("child", RAISED, "leak", WRONG), """
        import os, signal
        signal.signal(signal.SIGSYS, signal.SIG_IGN)
        def run(A, B, C):
            try:
                pid = os.fork()
            except OSError:
                pid = 1
            if pid == 0:
                os._exit(0)
            C[...] = 0
        """, public=False),
    Cheat("wrong_dtype", ("INCORRECT_DTYPE",), """
        def run(A, B):
            return A.astype("f8") @ B.T.astype("f8")
        """, passing=False, public=False),
    Cheat("shared_result", ("alias_out",), """
        import numpy as np
        room = np.empty((4096, 24), np.float32)
        def run(A, B):                     # the next call overwrites what this one returned
            out = room[: len(A)]
            np.matmul(A, B.T, out=out)
            return out
        """, passing=False, public=False),
    Cheat("memory_hog", (RAISED,), """
        import numpy as np
        held = []
        def run(A, B, C):
            while True:
                held.append(np.empty(1 << 33, np.uint8))
        """, public=False),
    Cheat("endless", ("TIMEOUT",), """
        def run(A, B, C):
            while True:
                pass
        """, public=False),
    Cheat("socket", ("leak",), """
        import socket
        def run(A, B, C):
            socket.create_connection(("127.0.0.1", 80), 1.0)
        """, public=False),
    Cheat("crash", (RAISED,), """
        import ctypes
        def run(A, B, C):
            ctypes.string_at(8)
        """, public=False),
]  # fmt: skip

SAMPLERS = [
    Cheat("sampler_bias", ("sampler_bias",), """
        import numpy as np
        rng = np.random.default_rng()
        def run(probs, top_k):
            out = np.empty(len(probs), np.int64)
            for b, row in enumerate(probs):
                p = row.astype(np.float64)
                p[np.argsort(-p, kind="stable")[top_k[b]:]] = 0
                out[b] = p.argmax() if rng.random() < 0.2 else rng.choice(len(p), p=p / p.sum())
            return out
        """, passing=False),
    Cheat("support_slack", ("support_slack",), """
        import numpy as np
        rng = np.random.default_rng()
        def run(probs, top_k):
            p = probs.astype(np.float64)
            return np.array([rng.choice(p.shape[1], p=row / row.sum()) for row in p], np.int64)
        """, passing=False),
]  # fmt: skip
