"""What the documents and the compose file say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from shared.domain.errors import ConfigurationError
from shared.settings import (
    DatabaseSettings,
    EmbeddedSettings,
    GatewaySettings,
    ProcessorSettings,
    read_settings,
)

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

_ROOT: Final = Path(__file__).parents[2]
_COMPOSE: Final[dict[str, Any]] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
_SETTINGS: Final[dict[str, type[BaseSettings]]] = {
    "gateway": GatewaySettings,
    "processor": ProcessorSettings,
    "embedded": EmbeddedSettings,
}


def _names(model: type[BaseSettings]) -> set[str]:
    return {f"ISOLINE_{name.upper()}" for name in model.model_fields}


def test_the_settings_table_names_each_setting_with_its_users_and_default() -> None:
    rows = re.findall(
        r"^\| `(ISOLINE_\w+)` \| (.*?) \| (.*?) \| ", (_ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )

    assert {name for name, _, _ in rows} == set().union(*map(_names, _SETTINGS.values()))
    for name, default, users in rows:
        for service, model in _SETTINGS.items():
            is_named = service in users or users == "all"
            assert is_named == (name in _names(model)), f"{name} and {service}"
            if is_named:
                assert _shown_default(model, name) in _stated_defaults(default), f"{name} of {service}"


def _shown_default(model: type[BaseSettings], name: str) -> str:
    field = model.model_fields[name.removeprefix("ISOLINE_").lower()]
    return "required" if field.is_required() else str(field.default) or "empty"


def _stated_defaults(default: str) -> set[str]:
    return set(re.split(r" \(embedded: |\)", default))


@pytest.mark.parametrize("service", ["gateway", "processor", "migrate"])
def test_compose_gives_a_service_what_it_needs_and_nothing_unknown(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DatabaseSettings if service == "migrate" else _SETTINGS[service]
    environment = _COMPOSE["services"][service]["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, _filled_in(value))

    read_settings(model)

    assert set(environment) <= _names(model)


def _filled_in(value: str) -> str:
    with_defaults = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "secret", with_defaults)


def test_the_sample_environment_names_what_compose_asks_for() -> None:
    sample = set(re.findall(r"^(\w+)=", (_ROOT / ".env.example").read_text(), re.MULTILINE))
    asked = set(re.findall(r"\$\{(\w+)", (_ROOT / "docker-compose.yml").read_text()))

    assert asked - sample <= {"ISOLINE_LOG_LEVEL"}
    assert sample <= asked


def test_a_sample_secret_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_DATABASE_URL", "postgresql://isoline:change-me@postgres/isoline")
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://isoline:good@rabbitmq/")
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "good")

    with pytest.raises(ConfigurationError, match="ISOLINE_DATABASE_URL: still holds the sample secret"):
        read_settings(GatewaySettings)
