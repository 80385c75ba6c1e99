"""``isoline doctor``: what is wrong with an installation, and what to do, a line for each check."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Final, Literal

import orjson
import typer

from isoline.cli.configuration import Format, FormatOption, Service
from isoline.cli.doctor_checks import (
    broker_checks,
    database_checks,
    gateway_checks,
    read_if_right,
    settings_check,
)
from shared.diagnosis import (
    Verdict,
    diagnose,
)
from shared.runtime.process import EXIT_CONFIGURATION
from shared.runtime.settings import BrokerSettings, DatabaseSettings, GatewaySettings
from shared.storage.pool.database import open_database
from shared.storage.schema.compatibility import connection_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from shared.diagnosis import Finding
    from shared.storage.pool.database import Database

    _StatementCheck = Callable[[Database], Awaitable[None]]

_RUNBOOK: Final = "docs/runbook.md"
_WITHIN_S: Final = 5.0
# Eight checks may hang on a table at the same time; then there are two for the others.
_CONNECTIONS: Final = 10
_EXIT_FAILED: Final = 1


def diagnose_installation(
    service: Annotated[
        Literal[Service.GATEWAY, Service.PROCESSOR, Service.OPERATOR] | None,
        typer.Argument(help="With the settings and rights of which; else of both services."),
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Check settings, PostgreSQL, RabbitMQ, what waits, clocks and disk: a line each, and what to do.

    It changes nothing. Exit status 1 if a check failed, 2 if a setting is missing or wrong.
    """
    services = [Service.GATEWAY, Service.PROCESSOR] if service is None else [Service(service)]
    findings = asyncio.run(_diagnose(services, output))
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        is_configuration = findings[0].verdict is Verdict.FAILED
        raise typer.Exit(EXIT_CONFIGURATION if is_configuration else _EXIT_FAILED)


async def _diagnose(services: Collection[Service], output: Format) -> list[Finding]:
    async with AsyncExitStack() as opened:
        checks = [settings_check(services)]
        database: Database | None = None
        if database_settings := read_if_right(DatabaseSettings):
            database = await opened.enter_async_context(
                open_database(
                    database_settings.database_url.get_secret_value(),
                    max_connections=_CONNECTIONS,
                    name=connection_name("doctor"),
                )
            )
            checks += database_checks(database, services)
        if broker_settings := read_if_right(BrokerSettings):
            checks += broker_checks(broker_settings, database, services)
        if Service.GATEWAY in services and (gateway_settings := read_if_right(GatewaySettings)):
            checks += gateway_checks(gateway_settings)
        findings = await diagnose(checks, within_s=_WITHIN_S)
        _print(findings, output)  # before connections are closed, which may hang
    return findings


def _print(findings: Collection[Finding], output: Format) -> None:
    if output is Format.JSON:
        typer.echo(orjson.dumps({"checks": [_as_json(finding) for finding in findings]}))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.verdict:<7}  {finding.name:<{width}}  {finding.reason}{_remedy(finding)}")


def _as_json(finding: Finding) -> dict[str, str]:
    document = {"name": finding.name, "verdict": str(finding.verdict), "reason": finding.reason}
    if finding.section:
        document |= {"remedy": finding.remedy, "see": f"{_RUNBOOK}#{finding.section}"}
    return document


def _remedy(finding: Finding) -> str:
    return f" -> {finding.remedy} ({_RUNBOOK}#{finding.section})" if finding.section else ""
