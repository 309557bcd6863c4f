"""`treadle serve`: the HTTP server in the foreground."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from treadle.cli.options import engine_options
from treadle.config import ServeConfig, parse
from treadle.errors import InvalidRequest
from treadle.limits import Limits

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(arguments: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT, then drains."""
    config = parse(ServeConfig, arguments, prog="treadle serve")
    keys = [key.strip() for key in (config.api_key or "").split(",") if key.strip()]
    if config.host not in LOOPBACK and not keys and not config.no_auth:
        raise InvalidRequest(
            f"{config.host} is reachable from other machines and no key is set",
            at="--host",
            hint="set TREADLE_API_KEY, or say --no-auth",
        )
    from treadle.server.serve import Listen, serve

    step = config.target_step_ms or (25.0 if config.device.startswith("cuda") else 50.0)
    limits = replace(
        Limits(),
        grammar=replace(Limits().grammar, source_bytes=1 << 20),
        sequences=config.max_sequences,
        batch_tokens=config.max_batch_tokens,
        queue_requests=config.max_queue,
    )
    return serve(
        config.source or config.model,
        Listen(config.host, config.port, tuple(keys), config.drain_timeout, config.served_name),
        limits,
        {
            **engine_options(config),
            "overlap": not config.no_overlap,
            "target_step": step / 1e3,
        },
    )
