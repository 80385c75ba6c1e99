"""Logs as JSON lines with constant messages, and the trace context that runs through everything."""

from __future__ import annotations

import logging
import re
import secrets
import sys
from typing import Final

import orjson
import structlog

# https://www.w3.org/TR/trace-context/#traceparent-header, version 00, neither id all zeros.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_SHARED_PROCESSORS: Final[list[structlog.typing.Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.processors.EventRenamer("message"),
]


def configure_logs(service: str, level: str, *, worker: int | None = None) -> None:
    """Send every log record of this process, ours and the libraries', to standard error as JSON lines.

    Each says which service it is from and, of several processes of it, which worker.
    """
    sender: structlog.typing.EventDict = {"service": service} | ({} if worker is None else {"worker": worker})

    # No context variable: signal handlers and threads have a context of their own.
    def tell_sender(
        _logger: object, _method: str, record: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**sender, **record}

    processors = [tell_sender, *_SHARED_PROCESSORS]
    structlog.configure(
        processors=[*processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("aio_pika", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    # One error for each attempt to connect; `shared.broker.rabbitmq` tells each reason once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def continued_traceparent(header: str | None) -> str:
    """A span of our own in the sender's trace, or the start of a new one.

    Args:
        header: The request's ``traceparent``; one that is not well-formed counts as none.
    """
    match = _TRACEPARENT.fullmatch(header or "")
    trace_id = match[1] if match else secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def _dumps(record: object, **_: object) -> str:
    return orjson.dumps(record, default=str).decode()
