"""Every budget in one place. Work budgets say how much work a millisecond buys."""

from __future__ import annotations

from msgspec import Struct, field


class GrammarLimits(Struct, frozen=True):
    """Budgets of the grammar core, mirrored by `cpp/grammar/run/limits.h`; a test compares them."""

    source_bytes: int = 16 << 20  # bytes of one schema, regex or grammar (the server lowers it)
    source_depth: int = 1_000  # nesting of the source text
    regex_bytes: int = 1 << 20  # bytes of one pattern
    ir_nodes: int = 2_000_000  # nodes of one grammar
    derived_nodes: int = 1_000_000  # nodes derived lazily while one grammar runs
    compile_fuel: int = 6_000_000  # work units, about 33,000 a millisecond
    step_fuel: int = 100_000_000  # work units of one mask, about 400,000 a millisecond
    stack_depth: int = 10_000  # nesting of the output
    branches: int = 4_096  # alternatives of one value
    configs: int = 4_096  # parallel readings of one text
    number_digits: int = 400  # digits of one number
    seen_values: int = 1_024  # items of one array that are told apart by value
    whitespace: int = 64  # longest run of optional whitespace in JSON
    cache_bytes: int = 128 << 20  # bytes of all masks and transitions, process-wide


class Limits(Struct, frozen=True):
    """Budgets of everything around the grammar core. Sizes in bytes, times in seconds."""

    grammar: GrammarLimits = field(default_factory=GrammarLimits)
    # HTTP
    body_bytes: int = 4 << 20
    header_bytes: int = 16 << 10
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    request_seconds: float = 600.0
    json_depth: int = 64
    # one request
    messages: int = 4_096
    tools: int = 128
    choices: int = 16
    stops: int = 16
    stop_bytes: int = 256
    stop_token_ids: int = 64
    logit_bias: int = 1_024
    top_logprobs: int = 20
    template_bytes: int = 1 << 20
    template_fuel: int = 1_000_000  # minijinja instructions, about 20,000 a millisecond
    template_output_bytes: int = 4 << 20
    # engine
    queue_requests: int = 512
    queue_tokens: int = 2_000_000
    sequences: int = 64
    batch_tokens: int = 512  # tokens of one forward pass
    undelivered_deltas: int = 256  # a request, then deltas coalesce
    slow_reader_seconds: float = 30.0
    # files
    gguf_keys: int = 65_536
    gguf_tensors: int = 65_536
    gguf_dims: int = 4
    gguf_string_bytes: int = 16 << 20
    gguf_array_items: int = 4_000_000
    safetensors_header_bytes: int = 100 << 20
    tokenizer_bytes: int = 128 << 20
