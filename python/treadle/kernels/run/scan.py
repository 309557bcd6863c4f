"""What a solution's text mentions that a reader wants to know. It annotates and never decides: text
can hide anything, so what is refused is refused by what a process does.

`delegate` = a solution in a language of its own kernels whose work seems to be a library's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from treadle.kernels.schema import Solution

_MODULES = {
    "ctypes": "ctypes", "cffi": "ctypes", "gc": "gc", "inspect": "frames", "threading": "threads",
    "concurrent": "threads", "multiprocessing": "processes", "subprocess": "processes",
    "socket": "network", "urllib": "network", "importlib": "imports",
}  # fmt: skip
_ATTRIBUTES = {"_getframe": "frames", "settrace": "frames", "Stream": "streams"}
_COMPUTE = frozenset(
    [
        "matmul",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "einsum",
        "tensordot",
        "dot",
        "mv",
        "linear",
        "softmax",
        "layer_norm",
        "rms_norm",
        "scaled_dot_product_attention",
        "multinomial",
        "embedding",
        "silu",
        "gelu",
        "_scaled_mm",
    ]
)
_LIBRARIES = frozenset({"torch", "numpy", "np", "F", "flashinfer", "flash_attn", "xformers"})
_NATIVE = {
    "delegate": r"\b(?:cublas\w*|cudnn\w*|cblas_\w+|[sd]gemm_|cusparse\w*|at::(?:matmul|mm|bmm|"
    r"linear|softmax|addmm|scaled_dot_product_attention)\w*|torch::(?:matmul|mm|bmm|nn::)\w*)",
    "imports": r"\b(?:dlopen|dlsym|LoadLibrary\w*)\s*\(",
    "threads": r"\b(?:std::j?thread|std::async|pthread_create)\b",
    "processes": r"\b(?:fork|vfork|execv\w*|posix_spawn|system|popen)\s*\(",
    "streams": r"\bcudaStream(?:Create|Begin)\w*",
    "network": r"\bsocket\s*\(",
}
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def scan(solution: Solution) -> list[str]:
    """Sorted words: delegate, ctypes, frames, gc, imports, network, processes, streams, threads;
    `unread` where Python does not parse."""
    own = solution.spec.language != "python"
    found: set[str] = set()
    for source in solution.sources:
        if source.path.endswith(".py"):
            found |= set(_python(source.content, own=own))
        else:
            text = _COMMENT.sub(" ", source.content)
            found |= {word for word, pattern in _NATIVE.items() if re.search(pattern, text)}
    return sorted(found)


def _python(text: str, *, own: bool) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield "unread"
        return
    device: set[ast.AST] = set()  # what Triton compiles is the solution's own work
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(
            "jit" in ast.dump(tag) for tag in node.decorator_list
        ):
            device |= set(ast.walk(node))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (_MODULES[n] for a in names if (n := _root(a.name)) in _MODULES)
            case ast.ImportFrom(module=str(module)) if _root(module) in _MODULES:
                yield _MODULES[_root(module)]
            case ast.Attribute(attr=name) if name in _ATTRIBUTES:
                yield _ATTRIBUTES[name]
            case ast.Attribute(value=ast.Name(id=root), attr=name) if (
                own and name in _COMPUTE and root in _LIBRARIES
            ):
                yield "delegate"
            case ast.BinOp(op=ast.MatMult()) if own and node not in device:
                yield "delegate"
            case _:
                pass


def _root(name: str) -> str:
    return name.partition(".")[0]
