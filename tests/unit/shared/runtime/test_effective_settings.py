from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from shared.runtime.effective_settings import Source, effective_settings, shown_url
from shared.runtime.settings import EmbeddedSettings, GatewaySettings, ProcessorSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_settings import BaseSettings

_DATABASE_URL = "postgresql://isoline:canary@db/isoline"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ISOLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", _DATABASE_URL)
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://isoline:canary@mq/")
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "canary")


def test_a_setting_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "isoline_token_key").write_text("canary of a file")
    (tmp_path / "isoline_database_url").write_text("postgresql://lost:canary@elsewhere/isoline")
    monkeypatch.setenv("ISOLINE_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "")
    monkeypatch.setenv("isoline_port", "9090")

    found = {setting.name: setting[1:] for setting in effective_settings(GatewaySettings)}

    assert found["ISOLINE_TOKEN_KEY"] == ("***", Source.FILE)
    assert found["ISOLINE_DATABASE_URL"] == ("postgresql://isoline:***@db/isoline", Source.ENVIRONMENT)
    assert found["ISOLINE_PORT"] == ("9090", Source.ENVIRONMENT)
    assert found["ISOLINE_DRAIN_S"] == ("2.0", Source.DEFAULT)
    assert found["ISOLINE_REDIS_URL"] == ("", Source.DEFAULT)


@pytest.mark.parametrize("kind", [GatewaySettings, ProcessorSettings, EmbeddedSettings])
def test_no_secret_is_shown(kind: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [name for name, field in kind.model_fields.items() if field.annotation is SecretStr]
    for name in secrets:
        scheme = {"database_url": "postgresql", "amqp_url": "amqp", "redis_url": "redis"}.get(
            name.removeprefix("operator_")
        )
        url = f"{scheme}://isoline:canary@host/name?password=canary"
        monkeypatch.setenv(f"ISOLINE_{name.upper()}", url if scheme else "canary")

    shown = {setting.name: setting.value for setting in effective_settings(kind)}

    assert secrets
    assert all("***" in shown[f"ISOLINE_{name.upper()}"] for name in secrets)
    assert "canary" not in repr(shown)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a:canary@h1:5432,h2:5433/db", "postgresql://a:***@h1:5432,h2:5433/db"),
        (
            "amqp://a:canary@n1/v,amqps://a:canary@n2/v?cafile=/ca",
            "amqp://a:***@n1/v,amqps://a:***@n2/v?cafile=/ca",
        ),
        ("redis://:canary@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://canary@host", "redis://***@host"),
        ("postgresql://host/db?user=a&password=canary", "postgresql://host/db?user=***&password=***"),
        ("postgresql://a:can/ary@host/db", "postgresql://***"),
        ("postgresql://a:can?ary@host/db", "postgresql://***"),
        ("postgresql://a:can#ary@host/db", "postgresql://***"),
        ("postgresql://a:c@n@ry@host/db", "postgresql://a:***@host/db"),
        ("postgresql://a:c:an,ary@host/db", "postgresql://a:***@host/db"),
        ("https://a:[canary@host", "https://***"),
        ("https://host/keys#canary", "https://host/keys#***"),
        ("postgresql://a:canary@/db?host=/run/postgresql", "postgresql://a:***@/db?host=/run/postgresql"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
