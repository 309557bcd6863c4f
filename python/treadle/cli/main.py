"""Entry point of `treadle`: picks the command and turns typed errors into exit codes."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence

from treadle.cli.collector import paused
from treadle.cli.imports import import_msgspec
from treadle.errors import InvalidRequest, TreadleError
from treadle.version import __version__

# name -> (module, one line of help); modules are imported when their command is called
COMMANDS = {
    "run": ("treadle.cli.run", "answer one prompt, optionally as JSON, by regex or grammar"),
    "chat": ("treadle.cli.chat", "talk to a model in the terminal"),
    "serve": ("treadle.cli.serve", "serve a model behind OpenAI-style endpoints"),
    "pull": ("treadle.cli.pull", "fetch a model into the cache"),
    "bench": ("treadle.cli.bench", "measure decode speed"),
    "web": ("treadle.cli.web", "chat with a model that runs in the browser"),
    "export": ("treadle.export.command", "write a model as a bundle for the browser"),
    "kernels": ("treadle.kernels.command", "check, summarise, merge and export kernel datasets"),
    "mega": ("treadle.cli.mega", "trace a model's steps, draw the tasks of a layer"),
    "doctor": ("treadle.cli.doctor", "tell what this machine offers"),
}

# verbs of a command that need what lies above its package
VERBS = {("kernels", "loop"): "treadle.cli.kernel_loop"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit codes: 0 ok, 2 input, 3 model files, 4 device, 5 internal."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except TreadleError as error:
        print(f"treadle: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("treadle: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # a bug of ours: the trace is what a report needs
        import traceback  # here, like difflib: most commands end well

        traceback.print_exc()
        print("treadle: internal error; please report it with the lines above", file=sys.stderr)
        return TreadleError.exit_code
    finally:
        gc.unfreeze()  # what `paused` has set aside, for a process that goes on


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if given[0] in ("-V", "--version"):
        print(f"treadle {__version__}")
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"use one of {', '.join(COMMANDS)}"
        raise InvalidRequest(f'no command "{name}"', hint=hint)
    above = VERBS.get((name, rest[0])) if rest else None
    if above is not None:
        return importlib.import_module(above).main(rest[1:])
    with paused():
        import_msgspec()
        module = importlib.import_module(COMMANDS[name][0])
    return module.main(rest)


def _usage() -> str:
    rows = "\n".join(f"  {name:8} {text}" for name, (_, text) in COMMANDS.items())
    return f"usage: treadle COMMAND [options]\n\n{rows}\n\n`treadle COMMAND --help` lists options."
