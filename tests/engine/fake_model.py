"""A model over the fake device: bytes are tokens, a small chat template, Hermes-style tools."""

from __future__ import annotations

from fake import BOS, TABLE, Fake

from treadle.engine import Loaded
from treadle.engine.load import Chosen
from treadle.text import ChatTemplate, tool_format

TEMPLATE = (
    "{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}<tool_call></tools>"
    "{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


class ByteTokenizer:
    """Every byte is a token; `<eos>` and `<bos>` are control tokens."""

    table = TABLE
    vocab_size = len(TABLE.data)
    bos_id = BOS
    adds_bos = True
    bos_token, eos_token = "<bos>", "<eos>"

    def encode(self, text: str, special: bool = False, bos: bool = False) -> list[int]:
        ids = [BOS] if bos else []
        for i, part in enumerate(text.split("<eos>") if special else [text]):
            ids += [256] * (i > 0) + list(part.encode())
        return ids

    def decode(self, ids: list[int], skip_special: bool = True) -> str:
        kept = [TABLE.data[i] for i in ids if not (skip_special and i in (256, 257))]
        return b"".join(kept).decode("utf-8", "replace")

    def token_id(self, text: str) -> int | None:
        return {"<eos>": 256, "<bos>": 257}.get(text)


def fake_model(device: Fake | None = None, context: int = 512) -> Loaded:
    """A loaded model that runs on a fake device."""
    return Loaded(
        name="fake",
        exe=device or Fake(pages=400),
        tokenizer=ByteTokenizer(),
        template=ChatTemplate(TEMPLATE),
        find_format=lambda: tool_format(TEMPLATE, "qwen2"),
        context=context,
        chosen=Chosen("fake", "cpu", 1),
        identity=b"fake",
        fingerprint="fp_fake",
    )
