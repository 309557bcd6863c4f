"""A tokeniser as data: the text of a tokenizer.json, and what the files beside it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from treadle.errors import LimitExceeded, ModelFormatError
from treadle.limits import Limits

Json = dict[str, Any]


class Spec(Struct, frozen=True):
    """`text` is the tokenizer.json the `tokenizers` library reads, `data` the same parsed.

    `size` counts ids (the highest + 1, or more where the file lists unused ones). `eos_ids` are
    the ids that end a turn according to the files; `token_table` adds the well-known ones.
    """

    text: str
    data: Json
    size: int
    bos_id: int | None
    eos_ids: tuple[int, ...]
    adds_bos: bool
    at: str


def json_spec(source: bytes | str | Path, config: Mapping[str, Any] | None, limits: Limits) -> Spec:
    """Reads tokenizer.json. Without `config`, tokenizer_config.json and generation_config.json
    beside the file are read when they are there.

    Raises ModelFormatError naming the file and what is wrong, LimitExceeded for a file that is
    too large, NotFound is left to whoever found the file.
    """
    at = "tokenizer.json" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        raw = source
        settings = dict(config or {})
    else:
        raw = _read(Path(source), limits)
        settings = dict(config) if config is not None else _beside(Path(source), limits)
    if len(raw) > limits.tokenizer_bytes:
        raise LimitExceeded("tokenizer_bytes", len(raw), limits.tokenizer_bytes, at=at)
    data = parse_json(raw, at)
    vocab = vocabulary(data, at, limits)
    bos_token = _token_text(settings.get("bos_token"))
    first = _template_start(data)
    bos_id = vocab.get(bos_token) if bos_token is not None else first
    eos_ids = _eos_ids(settings, vocab, at)
    flag = settings.get("add_bos_token")
    adds_bos = bos_id is not None and (flag if isinstance(flag, bool) else first == bos_id)
    size = max(vocab.values(), default=-1) + 1
    return Spec(raw.decode(), data, size, bos_id, eos_ids, adds_bos, at)


def parse_json(raw: bytes, at: str) -> Json:
    """A JSON object without duplicate keys. Raises ModelFormatError with line and column."""
    import json  # a tokeniser that was kept is not parsed

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise ModelFormatError(f"the key {twice!r} appears twice in one object", at=at)
        return found

    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"not UTF-8 at byte {error.start}", at=at) from None
    except json.JSONDecodeError as error:
        place = f"{at}:{error.lineno}:{error.colno}"
        raise ModelFormatError(f"not JSON: {error.msg}", at=place, hint="fetch it again") from None
    except RecursionError:
        raise ModelFormatError("nested too deeply", at=at) from None
    if not isinstance(data, dict):
        raise ModelFormatError(f"expected a JSON object, got {type(data).__name__}", at=at)
    return cast(Json, data)


def vocabulary(data: Json, at: str, limits: Limits) -> dict[str, int]:
    """Every piece and added token with its id; added tokens win. Raises ModelFormatError."""
    model = data.get("model")
    if not isinstance(model, dict):
        raise ModelFormatError("has no model object", at=at)
    model = cast(Json, model)
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind != "BPE":
        raise ModelFormatError(
            f"model type {kind!r} is not supported", at=at, hint="treadle reads BPE tokenisers"
        )
    pieces = model.get("vocab")
    if not isinstance(pieces, dict):
        raise ModelFormatError("model.vocab is not an object", at=at)
    found = dict(cast(dict[str, Any], pieces))
    for i, token in enumerate(added_tokens(data, at)):
        if not isinstance(token.get("content"), str) or not token["content"]:
            raise ModelFormatError(f"added_tokens[{i}].content is not a text", at=at)
        found[token["content"]] = token.get("id")
    highest = limits.gguf_array_items
    for piece, number in found.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < highest:
            raise ModelFormatError(
                f"token {piece[:40]!r} has id {number!r}, expected 0 to {highest - 1}", at=at
            )
    return found


def added_tokens(data: Json, at: str) -> list[Json]:
    """The `added_tokens` of a tokenizer.json. Raises ModelFormatError when it is no list."""
    tokens: object = data.get("added_tokens") or []
    if not isinstance(tokens, list) or not all(
        isinstance(t, dict) for t in cast(list[Any], tokens)
    ):
        raise ModelFormatError("added_tokens is not a list of objects", at=at)
    return cast(list[Json], tokens)


def steps(part: object, list_key: str) -> list[Json]:
    """A pre-tokeniser, post-processor or decoder as a flat list; a Sequence becomes its members."""
    if not isinstance(part, dict):
        return []
    part = cast(Json, part)
    members = part.get(list_key)
    if part.get("type") == "Sequence" and isinstance(members, list):
        return [step for member in cast(list[object], members) for step in steps(member, list_key)]
    return [part]


def _template_start(data: Json) -> int | None:
    """The id of the special token that the post-processor puts before a text."""
    for step in steps(data.get("post_processor"), "processors"):
        single = step.get("single")
        if step.get("type") != "TemplateProcessing" or not isinstance(single, list) or not single:
            continue
        first = cast(list[Json], single)[0]
        try:
            name = first["SpecialToken"]["id"]
            number = step["special_tokens"][name]["ids"][0]
        except (KeyError, IndexError, TypeError):
            return None
        return number if isinstance(number, int) else None
    return None


def _token_text(value: object) -> str | None:
    if isinstance(value, dict):
        value = cast(Json, value).get("content")
    return value if isinstance(value, str) and value else None


def _eos_ids(settings: Mapping[str, Any], vocab: Mapping[str, int], at: str) -> tuple[int, ...]:
    listed = settings.get("eos_token_id")
    ids: list[int] = []
    several: Sequence[object] = cast(list[object], listed) if isinstance(listed, list) else [listed]
    for number in several:
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ModelFormatError(f"eos_token_id holds {number!r}, expected token ids", at=at)
        ids.append(number)
    text = _token_text(settings.get("eos_token"))
    if text is not None and text in vocab:
        ids.insert(0, vocab[text])
    return tuple(dict.fromkeys(ids))


def _beside(path: Path, limits: Limits) -> Json:
    """tokenizer_config.json, with `eos_token_id` from generation_config.json."""
    settings: Json = {}
    for name, wanted in (
        ("tokenizer_config.json", None),
        ("generation_config.json", "eos_token_id"),
    ):
        file = path.with_name(name)
        if not file.is_file():
            continue
        found = parse_json(_read(file, limits), str(file))
        settings.update(found if wanted is None else {wanted: found.get(wanted)})
    return settings


def _read(path: Path, limits: Limits) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limits.tokenizer_bytes + 1)
    except OSError as error:
        raise ModelFormatError(f"cannot be read: {error.strerror}", at=str(path)) from None
    if len(raw) > limits.tokenizer_bytes:
        size = path.stat().st_size
        raise LimitExceeded("tokenizer_bytes", size, limits.tokenizer_bytes, at=str(path))
    return raw
