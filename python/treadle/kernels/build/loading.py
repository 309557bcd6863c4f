"""From an artefact to a callable. Only the process that nobody trusts may do this.

A callable takes positional tensors (anything with `__dlpack__`) and Python numbers in the
definition's order, outputs last where the artefact passes destinations.
"""

# Foreign modules and ctypes have no annotations that strict mode could use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from treadle.errors import KernelError
from treadle.kernels.build.artefact import Artefact
from treadle.kernels.build.toolchain import MODULE

_CPU = 1
_TENSOR_IN_VERSIONED = 32  # DLManagedTensorVersioned: version, context, deleter, flags, tensor


def load(artefact: Artefact) -> Callable[..., Any]:
    """The entry of a built solution, after every file has been compared with its hash.

    The callable returns outputs, or None where destinations are passed. Raises KernelError for a
    changed file, a missing symbol, or a module that does not import.
    """
    artefact.verify()
    if artefact.binding == "dlpack":
        return _dlpack(artefact)
    try:
        if artefact.binding == "python":
            found = getattr(_package(artefact), artefact.symbol)
        elif artefact.binding == "torch":
            found = getattr(_extension(artefact), artefact.symbol)
        else:
            import tvm_ffi

            found = tvm_ffi.load_module(str(artefact.folder / artefact.entry))[artefact.symbol]
    except Exception as problem:
        raise _failed(artefact, f"{type(problem).__name__}: {problem}") from problem
    if not callable(found):
        raise _failed(artefact, f"{artefact.symbol} is not callable")
    return found


def _package(artefact: Artefact) -> Any:
    """Imports the entry as a module of a package of its own, so that sources may import `.each`."""
    path = PurePosixPath(artefact.entry)
    root, name = artefact.folder / path.parts[0], f"{MODULE}_{artefact.key[:24]}"
    if name not in sys.modules:
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(root)]
        sys.modules[name] = importlib.util.module_from_spec(spec)
    inner = ".".join(PurePosixPath(*path.parts[1:]).with_suffix("").parts)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(f"{name}.{inner}")
    finally:
        sys.dont_write_bytecode = before


def _extension(artefact: Artefact) -> Any:
    import torch  # its libraries must be in the process first

    assert torch
    path = str(artefact.folder / artefact.entry)
    loader = importlib.machinery.ExtensionFileLoader(MODULE, path)
    spec = importlib.util.spec_from_loader(MODULE, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _dlpack(artefact: Artefact) -> Callable[..., None]:
    """A C function `int run(inputs..., outputs..., stream)` over `const DLTensor*` and doubles."""
    try:
        function: Any = getattr(ctypes.CDLL(str(artefact.folder / artefact.entry)), artefact.symbol)
    except (OSError, AttributeError) as problem:
        raise _failed(artefact, str(problem)) from None
    function.restype = ctypes.c_int

    def call(*operands: Any) -> None:
        held: list[Any] = []  # a capsule frees what its pointer names
        stream: int | None = None
        words: list[Any] = []
        for operand in operands:
            if isinstance(operand, (int, float)):
                words.append(ctypes.c_double(operand))
                continue
            kind = operand.__dlpack_device__()[0]
            held.append(_capsule(operand, kind))
            words.append(_tensor(held[-1]))
            if kind != _CPU and stream is None:
                stream = _stream(operand)
        status = function(*words, ctypes.c_void_p(stream))
        if status:
            raise KernelError(
                f"{artefact.symbol} returned {status}", at=artefact.key[:16],
                hint="1: a tensor it does not take; above: the device's own code",
            )  # fmt: skip

    return call


_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _capsule(operand: Any, kind: int) -> Any:
    given = {} if kind == _CPU else {"stream": -1}  # the caller orders its streams itself
    try:
        return operand.__dlpack__(**given, max_version=(1, 0))
    except TypeError:
        return operand.__dlpack__(**given)


def _tensor(capsule: Any) -> ctypes.c_void_p:
    name = _name(capsule)
    base = _pointer(capsule, name)
    return ctypes.c_void_p(base + (_TENSOR_IN_VERSIONED if name == b"dltensor_versioned" else 0))


def _stream(operand: Any) -> int:
    import torch

    return int(torch.cuda.current_stream(operand.device).cuda_stream)


def _failed(artefact: Artefact, text: str) -> KernelError:
    return KernelError(f"does not load: {text}", at=artefact.key[:16], hint="see the build's log")
