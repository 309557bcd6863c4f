"""Why a solution gets no time: the status that a file knows, our code, and what happened."""

from __future__ import annotations

from treadle.kernels.run.layout import State

_STATES: dict[State, tuple[str, str]] = {
    State.LOAD: ("RUNTIME_ERROR", ""),
    State.RAISED: ("RUNTIME_ERROR", ""),
    State.COUNT: ("INCORRECT_SHAPE", ""),
    State.SHAPE: ("INCORRECT_SHAPE", ""),
    State.DTYPE: ("INCORRECT_DTYPE", ""),
    State.KIND: ("RUNTIME_ERROR", "lazy_tensor"),
    State.ALIAS: ("RUNTIME_ERROR", "alias_out"),
    State.READ_ONLY: ("RUNTIME_ERROR", "mutate_input"),
    State.DENIED: ("RUNTIME_ERROR", "leak"),
    State.FLOOD: ("RUNTIME_ERROR", "log_flood"),
    State.TAMPERED: ("RUNTIME_ERROR", ""),
}


class Refused(Exception):
    """A solution is out. status: as in a trace; code: of the cheats' table, "" for plain faults.

    phase: trial, timed or after; relative, absolute: errors, where a comparison failed.
    """

    def __init__(
        self,
        status: str,
        text: str,
        *,
        code: str = "",
        phase: str = "",
        relative: float = 0.0,
        absolute: float = 0.0,
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.code, self.phase = status, text, code, phase
        self.relative, self.absolute = relative, absolute


def of_state(state: int, text: str) -> Refused:
    """What a harness says of itself; its word counts only against it."""
    try:
        known = State(state)
    except ValueError:
        return Refused("RUNTIME_ERROR", f"state {state} is none", code="result_forge")
    status, code = _STATES[known]
    if known is State.TAMPERED:
        code = text.partition(":")[0]
    return Refused(status, text, code=code)


_CALLS = {
    "fork": "child", "vfork": "child", "clone": "child", "execve": "child", "execveat": "child",
    "setsid": "child", "setpgid": "child", "kill": "child", "tkill": "child", "tgkill": "child",
    "ptrace": "ref_read", "process_vm_readv": "ref_read", "process_vm_writev": "ref_write",
}  # fmt: skip


def of_call(name: str) -> Refused:
    """A system call that the filter forbids."""
    return Refused("RUNTIME_ERROR", f"system call {name}", code=_CALLS.get(name, "leak"))
