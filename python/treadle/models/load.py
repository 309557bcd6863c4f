"""One call from a model's name to its graph and weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from msgspec import Struct

from treadle.errors import LimitExceeded, ModelFormatError, Unsupported
from treadle.limits import Limits
from treadle.models import outlines
from treadle.models.gguf import GgufFile
from treadle.models.json_file import read_json
from treadle.models.shape import Shape
from treadle.models.sources import locate
from treadle.models.weights import BoundWeights, Checkpoint, Source, bind
from treadle.types import Outline, Tensor, Weights

if TYPE_CHECKING:
    from treadle.graph import Graph

_CONFIG_BYTES = 16 << 20  # config.json and its like; the largest known is below 1 MiB
_WRAPPERS = (  # a text model inside a multimodal one: where its tensors begin → where alone
    ("language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.lm_head.", "lm_head."),
)


class Config(Protocol):
    """What every family's Config has."""

    @property
    def shape(self) -> Shape: ...


class FamilyModule(Protocol):
    """What a family's file offers; `Config` is its own class with from_hf and from_gguf."""

    Config: Any
    UNNEEDED: tuple[str, ...]
    build: Callable[..., Graph]
    names: Callable[[Any, Checkpoint], dict[str, Source]]


class Family(Struct, frozen=True):
    """A family by the name of its module, and the names files give it. `claims` picks among
    families of one GGUF name."""

    name: str
    hf: tuple[str, ...]
    gguf: str
    claims: Callable[[Mapping[str, Any]], bool] = lambda _: True

    @property
    def module(self) -> FamilyModule:
        """The family's file, imported when a model is of it."""
        return cast("FamilyModule", import_module(f"treadle.models.{self.name}"))


def _mistral_claims(metadata: Mapping[str, Any]) -> bool:
    from treadle.models.mistral import claims

    return claims(metadata)


FAMILIES: tuple[Family, ...] = (
    Family("mistral", ("mistral",), "llama", _mistral_claims),
    Family("llama", ("llama",), "llama"),
    Family("qwen2", ("qwen2",), "qwen2"),
    Family("qwen3", ("qwen3",), "qwen3"),
    Family("qwen3_moe", ("qwen3_moe",), "qwen3moe"),
    Family("gemma2", ("gemma2",), "gemma2"),
    Family("gemma3", ("gemma3_text", "gemma3"), "gemma3"),
)
"""Every family, tried in this order: by `model_type` of config.json or GGUF architecture."""


class TokenizerSource(Struct, frozen=True):
    """Where the tokeniser lies. json: `path` of tokenizer.json (None if the folder has none),
    `metadata` = tokenizer_config.json; gguf: `metadata` = that of the model file.

    `stop_ids`: the ids that the model's own generation settings end a turn with.
    """

    kind: Literal["json", "gguf"]
    path: Path | None
    metadata: Mapping[str, Any]
    stop_ids: tuple[int, ...] = ()


class Model(Struct, frozen=True, dict=True):
    """A model ready to compile. `context` in tokens; `path` = the file or folder it came from.

    `outline`: of its graph, which is built when somebody asks for it: a backend that has planned it
    in an earlier process does not.
    """

    name: str
    outline: Outline
    build: Callable[[], Graph]
    weights: Weights
    config: Config
    tokenizer_source: TokenizerSource
    chat_template: str | None
    context: int
    path: Path

    @cached_property
    def graph(self) -> Graph:
        """The graph."""
        return self.build()

    def __repr__(self) -> str:  # without weights, vocabulary and template
        shown = {name: getattr(self, name) for name in ("name", "config", "context", "path")}
        return f"Model({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def load(
    source: str,
    *,
    act: str = "f32",
    page: int = 16,
    limits: Limits | None = None,
    progress: bool = True,
) -> Model:
    """Fetches, maps, checks and builds a model. No weight is read before a backend asks for it.

    `source`: see `sources.locate`. `act`: activation dtype (f32, f16, bf16). `page`: tokens a KV
    page. Raises NotFound, ModelFormatError, Unsupported, LimitExceeded; each names the place.
    """
    limits = limits or Limits()
    path = locate(source, progress=progress)
    checkpoint = _open(path, limits)
    family = _family(checkpoint)
    module = family.module
    config: Config = (
        module.Config.from_hf(checkpoint.config, str(path / "config.json"))
        if checkpoint.kind == "hf"
        else module.Config.from_gguf(checkpoint.config, checkpoint.tensors, str(path))
    )
    # A tied model's file may still hold a copy of its embedding as the head.
    unneeded = (*module.UNNEEDED, r"^lm_head\.weight$") if config.shape.tied else module.UNNEEDED
    sources = module.names(config, checkpoint)

    def build() -> Graph:
        return bind(module.build(config, act=act, page=page), sources, checkpoint, unneeded)[0]

    key = outlines.key_of(checkpoint, family.name, act, page)
    graph, outline = None, outlines.read(key)
    if outline is None:
        graph = build()
        outline = outlines.keep(key, graph)
    formats = {name: format for name, (format, _) in outline.params.items()}
    tokenizer, template = _text_parts(checkpoint, limits)
    name = path.name if path == Path(os.path.expanduser(source)) else source
    return Model(
        name.removesuffix(".gguf"),
        outline,
        build if graph is None else lambda: graph,
        BoundWeights(checkpoint, sources, formats),
        config,
        tokenizer,
        template,
        config.shape.context,
        path,
    )


def _open(path: Path, limits: Limits) -> Checkpoint:
    if path.is_dir():
        from treadle.models.safetensors import open_directory

        config = read_json(path / "config.json", _CONFIG_BYTES)
        tensors: dict[str, Tensor] = {}
        for name, tensor in open_directory(path, limits).items():
            plain = _unwrapped(name)
            if plain in tensors:
                raise ModelFormatError(f"tensor {plain!r} appears twice", at=str(path))
            tensors[plain] = tensor
        return Checkpoint("hf", path, config, tensors)
    if path.suffix == ".safetensors":
        raise Unsupported(
            "a lone safetensors file has no hyperparameters", at=str(path), hint="give its folder"
        )
    file = GgufFile.open(path, limits)
    if file.metadata.get("split.count", 0) not in (0, 1):
        raise Unsupported(
            f"one of {file.metadata['split.count']} parts of a model",
            at=str(path),
            hint="join them with llama.cpp's gguf-split --merge, or take a file in one part",
        )
    return Checkpoint("gguf", path, file.metadata, file.tensors)


def _unwrapped(name: str) -> str:
    for wrapped, plain in _WRAPPERS:
        if name.startswith(wrapped):
            return plain + name[len(wrapped) :]
    return name


def _family(checkpoint: Checkpoint) -> Family:
    key = "model_type" if checkpoint.kind == "hf" else "general.architecture"
    name: Any = checkpoint.config.get(key)
    if not isinstance(name, str):
        raise ModelFormatError(f"{key} is {name!r}, expected a name", at=str(checkpoint.path))
    for family in FAMILIES:
        named = name in family.hf if checkpoint.kind == "hf" else name == family.gguf
        if named and (checkpoint.kind == "hf" or family.claims(checkpoint.config)):
            return family
    known = sorted({n for f in FAMILIES for n in (f.hf if checkpoint.kind == "hf" else (f.gguf,))})
    raise Unsupported(
        f"{key} is {name!r}", at=str(checkpoint.path), hint=f"known: {', '.join(known)}"
    )


def _text_parts(checkpoint: Checkpoint, limits: Limits) -> tuple[TokenizerSource, str | None]:
    if checkpoint.kind == "gguf":
        template: Any = checkpoint.config.get("tokenizer.chat_template")
        source = TokenizerSource("gguf", None, checkpoint.config)
        return source, _template(template, checkpoint.path, limits)
    folder = checkpoint.path
    json, jinja = folder / "tokenizer.json", folder / "chat_template.jinja"
    settings = _optional(folder / "tokenizer_config.json")
    generation = _optional(folder / "generation_config.json")
    stop: Any = generation.get("eos_token_id", checkpoint.config.get("eos_token_id"))
    stops = cast("list[Any]", stop) if isinstance(stop, list) else [stop]
    ids = tuple(i for i in stops if type(i) is int)
    source = TokenizerSource("json", json if json.exists() else None, settings, ids)
    if jinja.exists():
        if jinja.stat().st_size > limits.template_bytes:
            size = jinja.stat().st_size
            raise LimitExceeded(
                "template_bytes", size, limits.template_bytes, at=str(jinja), exit_code=3
            )
        return source, jinja.read_text("utf-8", errors="strict")
    return source, _template(settings.get("chat_template"), folder, limits)


def _template(value: Any, path: Path, limits: Limits) -> str | None:
    """A template as text; of a list of named ones (older files) the one called default."""
    if isinstance(value, list):
        entries: list[Any] = [e for e in cast("list[Any]", value) if isinstance(e, dict)]
        value = next((e.get("template") for e in entries if e.get("name") == "default"), None)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ModelFormatError("chat_template is no text", at=str(path))
    if len(value) > limits.template_bytes:
        raise LimitExceeded(
            "template_bytes", len(value), limits.template_bytes, at=str(path), exit_code=3
        )
    return value


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path, _CONFIG_BYTES) if path.exists() else {}
