"""The sizes every decoder family has, read and checked once for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from treadle.errors import ModelFormatError
from treadle.models.fields import Fields
from treadle.types import Tensor

_LAYERS, _WIDTH, _VOCAB = 1_024, 1 << 20, 1 << 24  # no known model comes near
_POSITIONS = (1 << 31) - 1  # positions are 32-bit integers


class Shape(Struct, frozen=True):
    """D width, H/K query and KV heads, d head size, F feed-forward width, V vocabulary.

    `eps` of the norms, `context` in tokens, `tied`: the head is the embedding.
    """

    layers: int
    D: int
    H: int
    K: int
    d: int
    F: int
    V: int
    eps: float
    context: int
    tied: bool

    @staticmethod
    def from_hf(f: Fields, *, tied: bool = False, feed_forward: str = "intermediate_size") -> Shape:
        """Reads config.json; `tied` is what the family does when the file does not say."""
        f.only("quantization_config")
        D, H = f.integer("hidden_size", hi=_WIDTH), f.integer("num_attention_heads", hi=_WIDTH)
        return Shape(
            layers=f.integer("num_hidden_layers", hi=_LAYERS),
            D=D,
            H=H,
            K=_kv_heads(f, "num_key_value_heads", H),
            d=_head_size(f, "head_dim", D, H),
            F=f.integer(feed_forward, hi=_WIDTH),
            V=f.integer("vocab_size", hi=_VOCAB),
            eps=f.positive("rms_norm_eps", 1e-6),
            context=f.integer("max_position_embeddings", hi=_POSITIONS),
            tied=f.flag("tie_word_embeddings", tied),
        )

    @staticmethod
    def from_gguf(
        f: Fields, tensors: Mapping[str, Tensor], *, feed_forward: str = "feed_forward_length"
    ) -> Shape:
        """Reads metadata; the vocabulary's size is the embedding's, a missing head means tied."""
        embedding = tensors.get("token_embd.weight")
        if embedding is None or len(embedding.shape) != 2:
            raise ModelFormatError("tensor 'token_embd.weight' of two axes is missing", at=f.at)
        D, H = (
            f.integer("embedding_length", hi=_WIDTH),
            f.integer("attention.head_count", hi=_WIDTH),
        )
        d = _head_size(f, "attention.key_length", D, H)
        if f.integer("attention.value_length", d, hi=_WIDTH) != d:
            raise f.unsupported("attention.value_length", f"accepted: {d}, the key's length")
        return Shape(
            layers=f.integer("block_count", hi=_LAYERS),
            D=D,
            H=H,
            K=_kv_heads(f, "attention.head_count_kv", H),
            d=d,
            F=f.integer(feed_forward, hi=_WIDTH),
            V=embedding.shape[0],
            eps=f.positive("attention.layer_norm_rms_epsilon"),
            context=f.integer("context_length", hi=_POSITIONS),
            tied="output.weight" not in tensors,
        )


def _kv_heads(f: Fields, key: str, H: int) -> int:
    K = f.integer(key, H, hi=H)
    if H % K:
        raise f.wrong(key, f"is {K}, which does not divide the {H} query heads")
    return K


def _head_size(f: Fields, key: str, D: int, H: int) -> int:
    if not f.has(key) and D % H:
        raise f.wrong(key, f"is missing and the width {D} is not divisible by {H} heads")
    d = f.integer(key, max(D // H, 1), hi=1 << 16)
    if d % 2:
        raise f.wrong(key, f"is {d}, expected an even number of which rope makes pairs")
    return d


def windows(
    f: Fields, layers: int, default: list[bool], *, key: str = "sliding_window", window: int = 0
) -> tuple[int, ...]:
    """Attention window of each layer in tokens, the current one included; 0 = full.

    Which layers slide: `layer_types`, or else `default`. How far: `key`, or else `window`.
    """
    types: list[str] = f.items("layer_types", str, layers)
    names = {"sliding_attention": True, "full_attention": False}
    unknown = next((name for name in types if name not in names), None)
    if unknown is not None:
        raise f.unsupported("layer_types", f"accepted: {', '.join(names)}")
    slides = [names[name] for name in types] or default
    window = read_window(f, key) or window
    if any(slides) and window < 1:
        raise f.wrong(key, "is missing and some layers need it")
    return tuple(window if slide else 0 for slide in slides)


def read_window(f: Fields, key: str = "sliding_window") -> int:
    """Tokens a windowed layer sees, the current one included; 0 when absent."""
    return f.integer(key, 0, lo=0, hi=_POSITIONS)


def upper_windows(f: Fields, layers: int) -> tuple[int, ...]:
    """Windows of the Qwen families: when switched on, the layers from `max_window_layers` up."""
    if not f.flag("use_sliding_window", False):
        return (0,) * layers
    first = f.integer("max_window_layers", 28, lo=0, hi=_LAYERS)
    return windows(f, layers, [i >= first for i in range(layers)])
