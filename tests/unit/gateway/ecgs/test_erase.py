from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import AsyncMock

import pytest

from gateway.ecgs.erase import erase
from shared.domain.errors import UnavailableError


async def test_while_the_event_source_is_unknown_nothing_is_erased() -> None:
    event_source, owned_ecgs = AsyncMock(), AsyncMock()
    event_source.uri.side_effect = UnavailableError("away")

    with pytest.raises(UnavailableError, match="away"):
        await erase(
            "ada",
            "10",
            owned_ecgs=owned_ecgs,
            outbox=AsyncMock(),
            publisher=AsyncMock(),
            event_source=event_source,
            publish_timeout_s=1,
            now=datetime.now(UTC),
            traceparent="",
        )

    assert owned_ecgs.mock_calls == []
