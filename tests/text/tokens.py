"""Small tokenisers trained on the spot, and the GGUF metadata that describes the same ones."""

from __future__ import annotations

import json
import random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from treadle.text.gguf import pretokenisers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's 12345 o'clock, they've said!",
    "def f(x):\n    return x ** 2  # squared\n\n\nprint(f(3))\r\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "日本語のテキストと漢字。한국어 문장도 있습니다. Ещё немного русского.",
    "🙂🙃 emoji 👩‍👩‍👧 and e\u0301 combining, tabs\t\tand   runs     of spaces",
    '{"name": "Ada", "age": 36, "tags": ["a", "b"], "nested": {"k": null}}',
] * 4
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_level(pre: str, vocab: int = 600) -> Tokenizer:
    """A byte-level BPE cut as `tokenizer.ggml.pre` = `pre` says, with three control tokens."""
    rule = pretokenisers()[pre]
    made = Tokenizer(models.BPE(ignore_merges=rule.ignore_merges))
    cuts = [pre_tokenizers.Split(Regex(p), "isolated") for p in rule.splits]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([*cuts, level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        show_progress=False,
        special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(CORPUS, trainer)
    made.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return made


def gguf_of(made: Tokenizer, pre: str) -> dict[str, Any]:
    """GGUF metadata of a byte-level tokeniser, as llama.cpp's converter writes it."""
    model = json.loads(made.to_str())["model"]
    added = made.get_added_tokens_decoder()
    size = made.get_vocab_size()
    texts = [made.id_to_token(i) for i in range(size)]
    kinds = [(3 if added[i].special else 4) if i in added else 1 for i in range(size)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }


_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz ",
    "ABC xyz'ss're 0123456789.,!?",
    " \t\n\r\u00a0\u2003\u3000",
    "éèüßñçøåÆŒ ſﬁ",
    "日本語漢字한국어العربيةहिन्दी",
    "e\u0301\u0308a\u030a\u200d\u200b\ufeff",
    "🙂🙃👩👧🏽\U0001f3f3\ufe0f",
    "<|im_end|><tool_call>[]{}\"'\\/▁Ġ",
    "\x00\x01\x7f\x80\xff\ufffd\uffff\U0010ffff",
)


def texts(seed: int, count: int) -> list[str]:
    """Random texts that mix scripts, white space, controls and the texts of special tokens."""
    draw = random.Random(seed)
    found = ["", " ", "\n", "a", *CORPUS[:6], *SPECIAL, "x<|im_end|>y <tool_call>"]
    while len(found) < count:
        runs = [
            "".join(draw.choices(draw.choice(_ALPHABETS), k=draw.randint(1, 8)))
            for _ in range(draw.randint(1, 8))
        ]
        found.append("".join(runs))
    return found
