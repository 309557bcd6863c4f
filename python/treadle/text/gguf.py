"""A tokenizer.json rebuilt from the metadata of a GGUF file.

Kinds: `gpt2` (byte-level BPE) and `llama` (SentencePiece's BPE). Key names: GGUF specification,
section "Tokenizer".
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from treadle.errors import LimitExceeded
from treadle.limits import Limits
from treadle.text.metadata import Metadata
from treadle.text.spec import Json, Spec

_PIECE_CHARS = 1_024  # the longest pieces in use are runs of a few hundred spaces
_TURN_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


class GgufKind(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Pieces:
    """The vocabulary of a GGUF file: texts, kinds, and the id of every piece in use."""

    texts: list[str]
    kinds: list[int]
    ids: dict[str, int]

    def added(self) -> list[Json]:
        """Tokens that are found in the text before it is cut: control and user-defined ones."""
        special = (GgufKind.UNKNOWN, GgufKind.CONTROL)
        return [
            {
                "id": number,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": self.kinds[number] in special,
            }
            for text, number in self.ids.items()
            if self.kinds[number] in (*special, GgufKind.USER)
        ]


@dataclass(frozen=True, slots=True)
class Pretokeniser:
    """How a text is cut before merging: one entry of pretokenisers.toml."""

    splits: tuple[str, ...]
    ignore_merges: bool
    nfc: bool
    adds_bos: bool


def gguf_spec(values: Mapping[str, Any], limits: Limits) -> Spec:
    """The tokeniser that GGUF metadata describes.

    Raises ModelFormatError naming the key: unknown kind or pre-tokeniser, missing or lying
    arrays, duplicate pieces, merges of unknown pieces.
    """
    meta = Metadata(values, limits)
    kind = meta.text("model")
    if kind not in ("gpt2", "llama"):
        raise meta.fail(
            "model", f"tokeniser kind {kind!r} is not supported", "known kinds: gpt2, llama"
        )
    texts = meta.strings("tokens")
    kinds = meta.integers("token_type", len(texts), GgufKind.NORMAL)
    bos_id = meta.token_id("bos_token_id", len(texts))
    turn_ids = [meta.token_id(key, len(texts)) for key in _TURN_KEYS]
    eos_ids = tuple(dict.fromkeys(i for i in turn_ids if i is not None))
    for number in (bos_id, *eos_ids):  # old converters left these marked as normal
        if number is not None and kinds[number] == GgufKind.NORMAL:
            kinds[number] = GgufKind.CONTROL
    pieces = _pieces(meta, texts, kinds)
    data, adds_bos = _byte_level(meta, pieces) if kind == "gpt2" else _sentencepiece(meta, pieces)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    adds_bos = meta.flag("add_bos_token", adds_bos) and bos_id is not None
    return Spec(text, data, len(texts), bos_id, eos_ids, adds_bos, "tokenizer.ggml")


def _pieces(meta: Metadata, texts: list[str], kinds: list[int]) -> Pieces:
    ids: dict[str, int] = {}
    for number, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
        if not GgufKind.NORMAL <= kind <= GgufKind.BYTE:
            raise meta.fail(f"token_type[{number}]", f"is {kind}, expected 1 to 6")
        if len(text) > _PIECE_CHARS:
            at = f"tokenizer.ggml.tokens[{number}]"
            raise LimitExceeded("characters of a token", len(text), _PIECE_CHARS, at=at)
        if kind == GgufKind.UNUSED or not text:
            continue
        if text in ids:
            other = ids[text]
            raise meta.fail(f"tokens[{number}]", f"{text[:40]!r} is already token {other}")
        ids[text] = number
    return Pieces(texts, kinds, ids)


def _document(pieces: Pieces, model: Json, **parts: Json | None) -> Json:
    model = {"type": "BPE", "dropout": None, "vocab": pieces.ids, **model}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": pieces.added(),
        "post_processor": None,
        **parts,
        "model": model,
    }


@cache
def pretokenisers() -> dict[str, Pretokeniser]:
    """Every known value of `tokenizer.ggml.pre`."""
    text = Path(__file__).with_name("pretokenisers.toml").read_text("utf-8")
    table: dict[str, Pretokeniser] = {}
    for entry in tomllib.loads(text)["pretokeniser"]:
        made = Pretokeniser(
            splits=tuple(pattern.replace("\n", "") for pattern in entry["splits"]),
            ignore_merges=entry.get("ignore_merges", False),
            nfc=entry.get("nfc", False),
            adds_bos=entry.get("adds_bos", False),
        )
        table.update(dict.fromkeys(entry["names"], made))
    return table


def _byte_level(meta: Metadata, pieces: Pieces) -> tuple[Json, bool]:
    name = meta.text("pre")
    pre = pretokenisers().get(name)
    if pre is None:
        known = ", ".join(sorted(pretokenisers()))
        raise meta.fail("pre", f"pre-tokeniser {name!r} is not known", f"known: {known}")
    cuts: list[Json] = [
        {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
        for p in pre.splits
    ]
    prefix = meta.flag("add_space_prefix", False)
    level = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True}
    level = {**level, "use_regex": False}
    model: Json = {
        "unk_token": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre.ignore_merges,
        "merges": _merges(meta, pieces),
    }
    data = _document(
        pieces,
        model,
        normalizer={"type": "NFC"} if pre.nfc else None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": [*cuts, level]},
        decoder=level,
    )
    return data, pre.adds_bos


def _merges(meta: Metadata, pieces: Pieces) -> list[list[str]]:
    """`merges` as pairs. A merge into a control token is left out: text never becomes one."""
    merges: list[list[str]] = []
    for i, merge in enumerate(meta.strings("merges")):
        cut = merge.find(" ", 1)
        left, right = merge[:cut], merge[cut + 1 :]
        if cut < 0 or not right:
            raise meta.fail(f"merges[{i}]", f"{merge[:40]!r} is not two pieces and a space")
        for part in (left, right, left + right):
            if part not in pieces.ids:
                raise meta.fail(f"merges[{i}]", f"{part[:40]!r} is not in the vocabulary")
        if pieces.kinds[pieces.ids[left + right]] != GgufKind.CONTROL:
            merges.append([left, right])
    return merges


def _sentencepiece(meta: Metadata, pieces: Pieces) -> tuple[Json, bool]:
    for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
        if meta.has(key) and meta.values["tokenizer.ggml." + key]:
            raise meta.fail(key, "text normalisation of this kind is not supported")
    has_merges = meta.has("merges")
    merges = _merges(meta, pieces) if has_merges else _scored_merges(meta, pieces)
    unknown = meta.token_id("unknown_token_id", len(pieces.texts))
    if unknown is None:
        unknown = next((i for i, k in enumerate(pieces.kinds) if k == GgufKind.UNKNOWN), None)
    unk_text = pieces.texts[unknown] if unknown is not None else ""
    model: Json = {
        "unk_token": unk_text if unk_text in pieces.ids else None,
        "fuse_unk": True,
        "byte_fallback": GgufKind.BYTE in pieces.kinds,
        "ignore_merges": False,
        "merges": merges,
    }
    prefix = meta.flag("add_space_prefix", True)
    space_in: Json = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    space_out: Json = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    before: list[Json] = [{"type": "Prepend", "prepend": "▁"}] if prefix else []
    after: list[Json] = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    decoder = [space_out, {"type": "ByteFallback"}, {"type": "Fuse"}, *after]
    data = _document(
        pieces,
        model,
        normalizer={"type": "Sequence", "normalizers": [*before, space_in]},
        pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": decoder},
    )
    return data, True


def _scored_merges(meta: Metadata, pieces: Pieces) -> list[list[str]]:
    """SentencePiece's merges: every way to write a piece as two pieces, best score first.

    SentencePiece joins the neighbours whose union scores highest; BPE with these ranks does the
    same. Source: Kudo and Richardson, SentencePiece (EMNLP 2018), `bpe_model.cc`.
    """
    scores = meta.reals("scores", len(pieces.texts))
    normal = {t: i for t, i in pieces.ids.items() if pieces.kinds[i] == GgufKind.NORMAL}
    found: list[tuple[float, int, str, str]] = []
    for text, number in normal.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in normal and right in normal:
                found.append((-scores[number], -cut, left, right))
    found.sort(key=lambda merge: merge[:2])
    return [[left, right] for _, _, left, right in found]
