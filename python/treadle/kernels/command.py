"""`treadle kernels VERB`: validate, stat, merge, export, generate, pack, capture, apply, measure,
agent.

The command line registers `main` under `kernels`; `python -m treadle.kernels.command` works too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from treadle.errors import InvalidRequest, TreadleError
from treadle.kernels import command_agent, command_apply, command_bench, command_board
from treadle.kernels.store.dataset import Dataset
from treadle.kernels.store.transfer import export, merge


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit codes: 0 ok, 2 bad input or a dataset with problems."""
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="treadle kernels",
        description="Datasets of kernels in the FlashInfer Trace format.",
        epilog="`treadle kernels loop` goes from a running model to a faster one; see its --help.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, text: str, run: object, *positional: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        for argument in positional:
            made.add_argument(argument, type=Path)
        made.add_argument("--json", action="store_true", help="print one line of JSON")
        made.set_defaults(run=run)
        return made

    verb("validate", "check every file and line of a dataset", _validate, "root")
    verb("stat", "count definitions, solutions, workloads and traces", _stat, "root")
    merging = verb("merge", "add datasets to the first one", _merge, "root")
    merging.add_argument("source", type=Path, nargs="+")
    exporting = verb("export", "write what a v1 reader loads to a new folder", _export, "root")
    exporting.add_argument("folder", type=Path, nargs="?")
    exporting.add_argument("--parquet", type=Path, metavar="FILE", help="workloads and traces")
    generate = verb("generate", "write the definitions of the ops, and workloads of ordinary "
                    "batches where there are none", _generate, "root")  # fmt: skip
    generate.add_argument(
        "--check", action="store_true", help="write nothing, fail on a difference"
    )
    verb("pack", "write the solutions made of a dataset's sources", _pack, "root")
    command_bench.register(verb)
    command_apply.register(verbs)
    command_board.register(verbs)
    command_agent.register(verb)
    return parser


def _validate(options: argparse.Namespace) -> int:
    found = list(Dataset(options.root, readonly=True).problems())
    if options.json:
        print(json.dumps({"problems": [p._asdict() for p in found]}, ensure_ascii=False))
    else:
        for problem in found:
            print(f"{problem.at}: {problem.message}")
        print(f"{len(found)} problems" if found else "ok")
    return 2 if found else 0


def _stat(options: argparse.Namespace) -> int:
    data = Dataset(options.root, readonly=True)
    counts = data.index.counts()
    solutions: dict[str, int] = {}
    for one in data.solutions():
        solutions[one.definition] = solutions.get(one.definition, 0) + 1
    rows = {
        name: {"op_type": d.op_type, "solutions": solutions.get(name, 0), **counts.get(name, {})}
        for name, d in sorted(data.definitions().items())
    }
    if options.json:
        print(json.dumps({"definitions": rows}))
        return 0
    for name, row in rows.items():
        print(f"{name}  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    total = sum(sum(by.values()) for by in counts.values())
    print(f"{len(rows)} definitions, {sum(solutions.values())} solutions, {total} rows")
    return 0


def _merge(options: argparse.Namespace) -> int:
    sources = [Dataset(path, readonly=True) for path in options.source]
    return _moved(options, merge(Dataset(options.root), *sources)._asdict())


def _export(options: argparse.Namespace) -> int:
    data = Dataset(options.root, readonly=True)
    folder: Path | None = options.folder
    file: Path | None = options.parquet
    if (folder is None) == (file is None):
        raise InvalidRequest(
            "name a folder, or a file with --parquet", at="export", hint="one of both"
        )
    if folder is not None:
        return _moved(options, export(data, folder)._asdict())
    from treadle.kernels.store import parquet

    assert file is not None
    moved = parquet.export(data, file)
    return _moved(options, {"lines": moved.lines, "left_out": moved.left_out})


def _generate(options: argparse.Namespace) -> int:
    from treadle.kernels.definitions import ordinary, shipped
    from treadle.kernels.schema import Trace

    data = Dataset(options.root, readonly=options.check)
    if not options.check:
        added = 0
        for one in shipped():
            data.add(one, replace=True)
            if next(data.workloads(one.name), None) is not None:
                continue
            for workload in ordinary(one):
                data.append(Trace(definition=one.name, workload=workload))
                added += 1
        counts = {"definitions": len(data.definitions()), "new workloads": added}
        return _moved(options, counts)
    have = data.definitions()
    drifted = [one.name for one in shipped() if have.get(one.name) != one]
    if options.json:
        print(json.dumps({"drifted": drifted}))
    else:
        print("\n".join(f"{name} differs from its op" for name in drifted) or "ok")
    return 2 if drifted else 0


def _pack(options: argparse.Namespace) -> int:
    from treadle.kernels.packing import packed

    data = Dataset(options.root)
    made = list(packed(data.definitions(), options.root / "sources"))
    for one in made:
        data.add(one, replace=True)
    return _moved(options, {"solutions": len(made)})


def _moved(options: argparse.Namespace, counts: dict[str, int]) -> int:
    if options.json:
        print(json.dumps(counts))
    else:
        print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TreadleError as error:
        print(f"treadle: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
