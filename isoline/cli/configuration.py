"""``isoline config``: the settings that a service would run with, without their secrets."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import orjson
import typer

from shared.domain.errors import ConfigurationError
from shared.runtime.effective_settings import effective_settings
from shared.runtime.settings import EmbeddedSettings, GatewaySettings, OperatorSettings, ProcessorSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_settings import BaseSettings

    from shared.runtime.effective_settings import EffectiveSetting


class Service(StrEnum):
    """What has settings of its own."""

    GATEWAY = "gateway"
    PROCESSOR = "processor"
    EMBEDDED = "embedded"
    OPERATOR = "operator"  # the commands of operators


class Format(StrEnum):
    """A form of output."""

    TEXT = "text"
    JSON = "json"


SETTINGS: Final[Mapping[Service, type[BaseSettings]]] = {
    Service.GATEWAY: GatewaySettings,
    Service.PROCESSOR: ProcessorSettings,
    Service.EMBEDDED: EmbeddedSettings,
    Service.OPERATOR: OperatorSettings,
}

# A problem begins with the name of its setting, and a semicolon may be inside one.
_BETWEEN_PROBLEMS: Final = re.compile(r"; (?=ISOLINE_)")

FormatOption = Annotated[Format, typer.Option("--format", help="A line each, or JSON for programs.")]


def show_configuration(
    service: Annotated[Service | None, typer.Argument(help="Both gateway and processor if left out.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the settings of a service: name, value, where it comes from; secrets are hidden.

    Exit status 2 if settings are missing or wrong; each is named, with what is expected.
    """
    settings = read_each([Service.GATEWAY, Service.PROCESSOR] if service is None else [service])
    if output is Format.JSON:
        document = {
            service.value: [setting._asdict() for setting in found] for service, found in settings.items()
        }
        typer.echo(orjson.dumps(document))
    else:
        typer.echo("\n".join(_lines(settings)))


def read_each(services: Iterable[Service]) -> dict[Service, list[EffectiveSetting]]:
    """The settings of these services.

    Raises:
        ConfigurationError: Those of one or more are missing or wrong; it names all of them, a line each.
    """
    found: dict[Service, list[EffectiveSetting]] = {}
    wrong: dict[str, None] = {}
    for service in services:
        try:
            found[service] = effective_settings(SETTINGS[service])
        except ConfigurationError as error:
            wrong |= dict.fromkeys(_BETWEEN_PROBLEMS.split(str(error)))
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return found


def _lines(settings: Mapping[Service, list[EffectiveSetting]]) -> Iterable[str]:
    """A line for each setting, and one more for a service that has another value of it."""
    services: dict[EffectiveSetting, list[Service]] = {}
    for service, found in settings.items():
        for setting in found:
            services.setdefault(setting, []).append(service)
    width = max(len(setting.name) for setting in services)
    for setting in sorted(services, key=lambda setting: setting.name):
        users = f" of {', '.join(services[setting])}" if len(settings) > 1 else ""
        yield f"{setting.name:<{width}}  {setting.value or '(empty)'}  ({setting.source}{users})"
