"""vLLM and SGLang as the recorded interfaces describe them, and a tokenizer like theirs."""

from __future__ import annotations

import dataclasses
import enum
import json
from abc import ABC
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "host_interfaces.json").read_text()
)
ALPHABET = [chr(i) for i in range(33, 127)]


class Tokenizer:
    """Byte-fallback pieces: 256 bytes, some words, special tokens."""

    def __init__(self) -> None:
        words = ["ab", '{"', '":', "true", "▁", "▁a"]
        pieces = ["<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *words]
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        self.eos_token_id = 1
        self.all_special_ids = [0, 1]
        self.backend_tokenizer = None

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [self._ids[f"<0x{byte:02X}>"] for byte in text.encode()]

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        names = list(self._ids)
        return [names[i] for i in ids]


def _methods(names: list[str], abstract: bool) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in names:

        def method(self: Any, *args: Any) -> Any:
            raise NotImplementedError

        method.__isabstractmethod__ = abstract  # type: ignore[attr-defined]
        out[name] = method
    return out


def vllm(**more: Any) -> ModuleType:
    """backend_types; `grammar=["x"]` gives the grammar class one more abstract method."""
    record = RECORD["vllm"]
    module = ModuleType("vllm.v1.structured_output.backend_types")
    options = [*record["options"], *more.get("options", ())]
    module.StructuredOutputOptions = enum.Enum("StructuredOutputOptions", options)
    for name, key in (
        ("StructuredOutputBackend", "backend"),
        ("StructuredOutputGrammar", "grammar"),
    ):
        names = [*record[key], *more.get(key, ())]
        setattr(module, name, type(ABC)(name, (ABC,), _methods(names, True)))
    return module


def vllm_config(**changed: Any) -> SimpleNamespace:
    fields = RECORD["vllm"]["config"] | dict.fromkeys(changed)
    made = dataclasses.make_dataclass(
        "StructuredOutputsConfig",
        [(name, Any, dataclasses.field(default=value)) for name, value in fields.items()],
    )
    return SimpleNamespace(structured_outputs_config=made(**changed))


def vllm_params(**changed: Any) -> Any:
    fields = RECORD["vllm"]["params"] | {key: None for key in changed if key not in KNOWN}
    made = dataclasses.make_dataclass(
        "StructuredOutputsParams",
        [(name, Any, dataclasses.field(default=value)) for name, value in fields.items()],
    )
    return made(**changed)


KNOWN = frozenset(RECORD["vllm"]["params"])


def sglang(**more: Any) -> ModuleType:
    record = RECORD["sglang"]
    module = ModuleType("sglang.srt.constrained.base_grammar_backend")
    for name, key in (("BaseGrammarObject", "object"), ("BaseGrammarBackend", "backend")):
        names = [*record[key], *more.get(key, ())]
        setattr(module, name, type(name, (), _methods(names, False)))
    module.BaseGrammarBackend.reset = lambda self: None

    class Invalid(module.BaseGrammarObject):
        def __init__(self, error_message: str) -> None:
            self.error_message = error_message

    module.InvalidGrammarObject = Invalid
    module.registry = {}
    module.register_grammar_backend = module.registry.__setitem__
    return module
