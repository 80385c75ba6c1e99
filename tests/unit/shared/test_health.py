from __future__ import annotations

import socket

import pytest

from shared.domain.errors import ConfigurationError
from shared.health import open_health_server


async def test_a_health_port_that_is_taken_is_a_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        with pytest.raises(ConfigurationError, match=rf"^ISOLINE_HEALTH_HOST.*listen on 127\.0\.0\.1:{port}"):
            async with open_health_server("127.0.0.1", port, {}):
                pass
