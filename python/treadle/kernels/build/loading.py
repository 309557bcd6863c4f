"""From an artefact to a callable. Only the process that nobody trusts may do this.

A callable takes positional tensors (anything with `__dlpack__`) and Python numbers in the
definition's order, outputs last where the artefact passes destinations. That of a solution that
prepares weights is `Prepared`.
"""

# Foreign modules and ctypes have no annotations that strict mode could use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false
# pyright: reportUnknownLambdaType=false

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


class Prepared:
    """A solution that transforms its weights once.

    prepare: of the weights, in call order, makes what `run` takes after the inputs. Called itself,
    it is the entry point, which needs neither.
    """

    def __init__(
        self,
        plain: Callable[..., Any],
        prepare: Callable[..., Any],
        run: Callable[..., Any],
    ) -> None:
        self._plain, self.prepare, self.run = plain, prepare, run

    def __call__(self, *operands: Any) -> Any:
        return self._plain(*operands)


def load(artefact: Artefact) -> Callable[..., Any]:
    """The entry of a built solution, after every file has been compared with its hash.

    The callable returns outputs, or None where destinations are passed. Raises KernelError for a
    changed file, a missing symbol, or a module that does not import.
    """
    artefact.verify()
    find = _finder(artefact)
    plain, split = find(artefact.entry, artefact.symbol), artefact.prepare
    if split is None:
        return plain
    entry, run = (find(*text.split("::")) for text in (split.entry, split.run))
    return Prepared(
        plain, _holding(entry, artefact) if artefact.binding == "dlpack" else entry, run
    )


def _finder(artefact: Artefact) -> Callable[[str, str], Callable[..., Any]]:
    """Finds (file below the folder, symbol)."""
    if artefact.binding == "wgsl":
        from treadle.kernels.build.shader import shader

        return lambda file, symbol: shader(artefact.folder, file, symbol)
    if artefact.binding == "dlpack":
        try:
            library = ctypes.CDLL(str(artefact.folder / artefact.entry))
        except OSError as problem:
            raise _failed(artefact, str(problem)) from None
        return lambda file, symbol: _dlpack(artefact, library, symbol)
    try:
        if artefact.binding == "python":
            of: Callable[[str], Any] = lambda file: _package(artefact, file)  # noqa: E731
        elif artefact.binding == "torch":
            module = _extension(artefact)
            of = lambda file: module  # noqa: E731
        else:
            import tvm_ffi

            built = tvm_ffi.load_module(str(artefact.folder / artefact.entry))
            return lambda file, symbol: built[symbol]
        of(artefact.entry)
    except Exception as problem:
        raise _failed(artefact, f"{type(problem).__name__}: {problem}") from problem

    def find(file: str, symbol: str) -> Callable[..., Any]:
        try:
            found = getattr(of(file), symbol)
        except Exception as problem:
            raise _failed(artefact, f"{type(problem).__name__}: {problem}") from problem
        if not callable(found):
            raise _failed(artefact, f"{symbol} is not callable")
        return found

    return find


def _package(artefact: Artefact, file: str) -> Any:
    """Imports a file as a module of a package of its own, so that sources may import `.each`."""
    path = PurePosixPath(file)
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


def _dlpack(artefact: Artefact, library: ctypes.CDLL, symbol: str) -> Callable[..., None]:
    """A C function `int run(inputs..., outputs..., stream)` over `const DLTensor*` and doubles."""
    try:
        function: Any = getattr(library, symbol)
    except AttributeError as problem:
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
            if isinstance(operand, (_Held, _Room)):
                words.append(operand.word)
                continue
            kind = operand.__dlpack_device__()[0]
            held.append(_capsule(operand, kind))
            words.append(_tensor(held[-1]))
            if kind != _CPU and stream is None:
                stream = _stream(operand)
        status = function(*words, ctypes.c_void_p(stream))
        if status:
            raise KernelError(
                f"{symbol} returned {status}", at=artefact.key[:16],
                hint="1: a tensor it does not take; above: the device's own code",
            )  # fmt: skip

    return call


class _Room:
    """A `void**` that a C function leaves its result in."""

    def __init__(self) -> None:
        self.pointer = ctypes.c_void_p()
        self.word: Any = ctypes.byref(self.pointer)


class _Held:
    """What a C function made of weights; freed by `release` with its last reference."""

    def __init__(self, pointer: ctypes.c_void_p, release: Any) -> None:
        self.word, self._release = pointer, release

    def __del__(self) -> None:
        if self._release is not None and self.word:
            self._release(self.word)


def _holding(entry: Callable[..., None], artefact: Artefact) -> Callable[..., Any]:
    """`int prepare(weights..., void** made, stream)` as a function that returns what it made."""
    symbol = artefact.prepare.release if artefact.prepare is not None else ""
    release: Any = None
    if symbol:
        try:
            release = getattr(ctypes.CDLL(str(artefact.folder / artefact.entry)), symbol)
        except AttributeError as problem:
            raise _failed(artefact, str(problem)) from None
        release.restype, release.argtypes = None, [ctypes.c_void_p]

    def prepare(*given: Any) -> Any:
        room = _Room()
        entry(*given, room)
        return _Held(room.pointer, release)

    return prepare


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
