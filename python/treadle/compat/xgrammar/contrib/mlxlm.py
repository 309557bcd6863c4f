"""The logits processor for mlx-lm. Importing it needs mlx and mlx_lm.

python -m treadle.compat.xgrammar.contrib.mlxlm --model FOLDER_OR_NAME
"""

# MLX is not installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse

import mlx.core as mx

from treadle.compat.xgrammar.compiler import CompiledGrammar, GrammarCompiler
from treadle.compat.xgrammar.kernels.apply_token_bitmask_mlx import apply_token_bitmask_mlx
from treadle.compat.xgrammar.matcher import GrammarMatcher, allocate_token_bitmask
from treadle.compat.xgrammar.tokenizer_info import TokenizerInfo


class XGrammarLogitsProcessor:
    """Masks the logits of one sequence; `max_rollback_tokens` is accepted and not needed."""

    def __init__(self, grammar: CompiledGrammar, max_rollback_tokens: int = 16) -> None:
        self.matcher = GrammarMatcher(grammar)
        self.vocab_size = grammar.tokenizer_info.vocab_size
        self.bitmask = allocate_token_bitmask(1, self.vocab_size)
        self._seen = 0

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        """tokens [T] so far, the prompt at the first call; logits [1, V]."""
        if self._seen and tokens.size == self._seen + 1:
            last = int(tokens[-1].item())
            if not self.matcher.is_terminated() and not self.matcher.accept_token(last):
                raise RuntimeError(f"token {last} is not what the mask allowed")
        else:
            self.matcher.reset()  # the first call of a new text: these are the prompt's tokens
        self._seen = tokens.size
        if self.matcher.is_terminated():
            return logits
        self.matcher.fill_next_token_bitmask(self.bitmask)
        return apply_token_bitmask_mlx(mx.array(self.bitmask.numpy()), logits, self.vocab_size)


def parse_args() -> argparse.Namespace:
    """--model, --prompt, --seed."""
    parser = argparse.ArgumentParser(description="Any JSON object, by a model under MLX.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", default="Invent a sailor, as JSON and nothing else.")
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def main() -> None:
    """Prints one constrained answer."""
    from mlx_lm.generate import generate
    from mlx_lm.utils import load

    args = parse_args()
    model, tokenizer = load(args.model)
    mx.random.seed(args.seed)
    inner = getattr(tokenizer, "_tokenizer", tokenizer)
    compiler = GrammarCompiler(TokenizerInfo.from_huggingface(inner))
    processor = XGrammarLogitsProcessor(compiler.compile_builtin_json_grammar())
    turns = [{"role": "user", "content": args.prompt}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)
    print(generate(model=model, tokenizer=tokenizer, prompt=prompt, logits_processors=[processor]))


if __name__ == "__main__":
    main()
