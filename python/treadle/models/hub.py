"""Models of the Hugging Face Hub: weights and tokeniser files only, never code or pickles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from treadle.errors import NotFound

_NAME = r"[A-Za-z0-9][\w.\-]*"
_REPO = re.compile(rf"({_NAME}/{_NAME})(?:@([\w./\-]+?))?(?::([\w./\- ]+\.gguf))?")
_WANTED = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_UNWANTED = ("*/*", "consolidated*")  # second copies of the weights in other layouts


class Repo(Struct, frozen=True):
    """`owner/name`, at a revision if given, and the GGUF file in it that is meant, if any."""

    name: str
    revision: str | None
    file: str | None


def parse(source: str) -> Repo | None:
    """Reads `owner/name[@revision][:file.gguf]`; None when the text is no such thing."""
    found = _REPO.fullmatch(source)
    return Repo(*found.groups()) if found else None


def fetch(repo: Repo, *, progress: bool) -> Path:
    """A folder with the repository's weights, or the path of its GGUF file.

    huggingface_hub keeps the cache, resumes, and heeds its own variables (HF_HUB_OFFLINE, HF_HOME,
    HF_TOKEN, HF_ENDPOINT). Raises NotFound naming the repository.
    """
    # Imported here: nobody should wait for an HTTP stack who names a local file.
    import huggingface_hub
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):  # the library's switch is process-wide; a silenced bar is not
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # pyright: ignore[reportUnknownMemberType]

    hub: Any = huggingface_hub  # its signatures are only half typed
    common = {"revision": repo.revision, "tqdm_class": tqdm if progress else Silent}
    try:
        if repo.file is not None:
            return Path(hub.hf_hub_download(repo.name, repo.file, **common))
        patterns = {"allow_patterns": list(_WANTED), "ignore_patterns": list(_UNWANTED)}
        return Path(hub.snapshot_download(repo.name, **patterns, **common))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise NotFound(
            f"the Hub gave nothing ({type(error).__name__}): {reason}",
            at=repo.name,
            hint="check the name, the network, HF_HUB_OFFLINE, and HF_TOKEN for gated models",
        ) from None
