"""The honest corpus: right in many ways, some of them slow or odd; none may be refused."""

# ruff: noqa: E501 - a body a line

from __future__ import annotations

LINEAR = {
    "matmul": ("np.matmul(A, B.T, out=C)", True),
    "dot": ("C[...] = A.dot(B.T)", True),
    "operator": ("return A @ B.T", False),
    "inner": ("return np.inner(A, B)", False),
    "einsum": ("C[...] = np.einsum('mk,nk->mn', A, B)", True),
    "einsum_optimal": ("return np.einsum('mk,nk->mn', A, B, optimize=True)", False),
    "tensordot": ("return np.tensordot(A, B, ([1], [1]))", False),
    "transposed": ("return (B @ A.T).T", False),
    "broadcast_sum": ("C[...] = (A[:, None] * B).sum(-1)", True),
    "rows": ("for m in range(len(A)):\n        C[m] = B @ A[m]", True),
    "columns": ("for n in range(len(B)):\n        C[:, n] = A @ B[n]", True),
    "outer_products": (
        "C[...] = 0\n    for k in range(A.shape[1]):\n        C += np.outer(A[:, k], B[:, k])", True,
    ),
    "split_k": (
        "C[...] = 0\n    for k in range(0, 32, 8):\n        C += A[:, k:k + 8] @ B[:, k:k + 8].T", True,
    ),
    "tiles": (
        "for m in range(0, len(A), 8):\n        for n in range(0, len(B), 8):\n"
        "            C[m:m + 8, n:n + 8] = A[m:m + 8] @ B[n:n + 8].T", True,
    ),
    "padded": (
        "rows = -(-len(A) // 16) * 16\n    room = np.zeros((rows, A.shape[1]), np.float32)\n"
        "    room[:len(A)] = A\n    C[...] = (room @ B.T)[:len(A)]", True,
    ),
    "float64_inside": ("C[...] = A.astype(np.float64) @ B.T.astype(np.float64)", True),
    "copied": ("a, b = A.copy(), np.ascontiguousarray(B.T)\n    return a @ b", False),
    "fortran_result": ("return np.asfortranarray(A @ B.T)", False),
    "tuple_result": ("return (A @ B.T,)", False),
    "list_result": ("return [A @ B.T]", False),
    "scratch_kept": (
        "if len(scratch) < len(A):\n        scratch.resize((len(A), 24), refcheck=False)\n"
        "    np.matmul(A, B.T, out=scratch[:len(A)])\n    C[...] = scratch[:len(A)]", True,
    ),
    "reordered_k": ("p = np.arange(32)[::-1]\n    C[...] = A[:, p] @ B[:, p].T", True),
    "python_sums": (
        "b = B.astype(np.float64)\n    for m, row in enumerate(A.astype(np.float64)):\n"
        "        C[m] = [float(row @ column) for column in b]", True,
    ),
    "errstate": ("with np.errstate(all='ignore'):\n        np.matmul(A, B.T, out=C)", True),
    "warm_import": ("import fractions\n    np.matmul(A, B.T, out=C)", True),
    "counts_calls": ("global calls\n    calls += 1\n    np.matmul(A, B.T, out=C)", True),
    "says_little": ("print('row count', len(A))\n    np.matmul(A, B.T, out=C)", True),
    "slow": ("for _ in range(20):\n        np.matmul(A, B.T, out=C)", True),
}  # fmt: skip
"""Name → body of `run`, and whether destinations are passed."""

LINEAR_HEAD = "import numpy as np\n\nscratch = np.zeros((0, 24), np.float32)\ncalls = 0\n\n\n"

NORM = {
    "plain": "return (x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w)",
    "wide": "v = x.astype(np.float64)\n    v = v / np.sqrt(np.square(v).mean(-1)[:, None] + EPS) * w\n"
    "    return v.astype(np.float32)",
    "einsum": "s = np.einsum('td,td->t', x, x) / np.float32(x.shape[-1]) + EPS\n"
    "    return x * (1 / np.sqrt(s))[:, None] * w",
    "norm": "n = np.linalg.norm(x, axis=-1, keepdims=True)\n"
    "    return x / np.sqrt(n * n / np.float32(x.shape[-1]) + EPS) * w",
    "rows": "out = np.empty_like(x)\n    for t, row in enumerate(x):\n"
    "        out[t] = row * w / np.sqrt(row @ row / np.float32(len(row)) + EPS)\n    return out",
    "weight_first": "return (x * w) * (np.float32(1) / np.sqrt((x * x).mean(-1, keepdims=True) + EPS))",
}  # fmt: skip

NORM_HEAD = "import numpy as np\n\nEPS = np.float32(1e-5)\n\n\n"


def linear(body: str, *, passing: bool) -> str:
    """A whole source."""
    return f"{LINEAR_HEAD}def run({'A, B, C' if passing else 'A, B'}):\n    {body}\n"


def norm(body: str) -> str:
    """A whole source of a norm."""
    return f"{NORM_HEAD}def run(x, w):\n    {body}\n"
