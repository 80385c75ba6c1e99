"""``isoline config``."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from isoline.cli.app import app
from shared.domain.errors import ConfigurationError
from shared.runtime.settings import GatewaySettings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ISOLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", "postgresql://isoline:canary@db/isoline")
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://isoline:canary@mq/")
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "canary")


def isoline(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["config", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    assert "canary" not in result.output
    return result.output


def test_each_setting_of_both_services_has_a_line_and_one_more_where_they_differ() -> None:
    lines = isoline().splitlines()

    [url] = [line for line in lines if "ISOLINE_DATABASE_URL " in line]
    assert "ISOLINE_DATABASE_URL           postgresql://isoline:***@db/isoline  " in url
    assert url.endswith("(environment of gateway, processor)")
    ports = [line.split()[1:] for line in lines if line.startswith("ISOLINE_OPERATIONS_PORT ")]
    assert ports == [["0", "(default", "of", "gateway)"], ["8081", "(default", "of", "processor)"]]


def test_the_settings_of_one_service_can_be_read_by_programs() -> None:
    document = json.loads(isoline("gateway", "--format", "json"))

    assert list(document) == ["gateway"]
    assert {setting["name"] for setting in document["gateway"]} == {
        f"ISOLINE_{name.upper()}" for name in GatewaySettings.model_fields
    }
    assert {"name": "ISOLINE_TOKEN_KEY", "value": "***", "source": "environment"} in document["gateway"]


def test_the_embedded_mode_needs_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "AMQP_URL", "TOKEN_KEY"):
        monkeypatch.delenv(f"ISOLINE_{name}")

    assert "ISOLINE_VAR" in isoline("embedded")


def test_all_that_is_wrong_is_said_at_once_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", "canary")
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "")
    monkeypatch.setenv("ISOLINE_MAX_ATTEMPTS", "none")

    with pytest.raises(ConfigurationError) as caught:
        CliRunner().invoke(app, ["config"], catch_exceptions=False)

    lines = str(caught.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [
        "ISOLINE_AMQP_URL",
        "ISOLINE_MAX_ATTEMPTS",
        "ISOLINE_TOKEN_KEY",
    ]
    assert "canary" not in str(caught.value)
