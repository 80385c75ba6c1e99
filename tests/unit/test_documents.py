"""The documents and the compose file agree with the code."""

from __future__ import annotations

import json
import re
from datetime import datetime
from http import HTTPStatus
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from gateway.ecgs.query_parameters import MAX_WAIT_S
from gateway.ops.routes import OPS_ROUTES
from isoline.cli.app import app
from shared.domain.account import Role
from shared.domain.errors import ConfigurationError
from shared.events import EcgKey, processed_event
from shared.runtime.settings import (
    DatabaseSettings,
    EmbeddedSettings,
    GatewaySettings,
    ProcessorSettings,
    read_settings,
)
from tests.support.releases import RELEASE_BEFORE, file_of

if TYPE_CHECKING:
    from prometheus_client import Metric
    from pydantic_settings import BaseSettings

_ROOT: Final = Path(__file__).parents[2]
_COMPOSE: Final[dict[str, Any]] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
_BALANCER: Final = (_ROOT / "deploy/compose/haproxy.cfg").read_text()
_BROKER_USERS: Final = (_ROOT / "deploy/compose/broker-users").read_text()
_SETTINGS: Final[dict[str, type[BaseSettings]]] = {
    "gateway": GatewaySettings,
    "processor": ProcessorSettings,
    "embedded": EmbeddedSettings,
}


def _names(model: type[BaseSettings]) -> set[str]:
    return {f"ISOLINE_{name.upper()}" for name in model.model_fields}


def test_the_table_of_metrics_names_each_with_its_type_and_its_labels() -> None:
    rows = re.findall(
        r"^\| `(isoline_\w+)` \| (\w+) \| (.*?) \| ", (_ROOT / "docs/operations.md").read_text(), re.MULTILINE
    )
    for service in ("gateway.__main__", "processor.__main__"):
        import_module(service)
    labels = {name: re.findall(r"`(\w+)`", re.sub(r":[^:]*$", "", text)) for name, _, text in rows}
    families = [family for family in REGISTRY.collect() if family.name.startswith("isoline_")]

    assert {name: type_ for name, type_, _ in rows} == {
        _exposed_name(family): _exposed_type(family) for family in families
    }
    assert all(
        set(sample.labels) - {"le"} <= set(labels[_exposed_name(family)])
        for family in families
        for sample in family.samples
    )


def _exposed_name(family: Metric) -> str:
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def _exposed_type(family: Metric) -> str:
    return "gauge" if family.type == "info" else family.type


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
    return (
        "required"
        if field.is_required()
        else ("" if field.default is None else str(field.default)) or "empty"
    )


def _stated_defaults(default: str) -> set[str]:
    return set(re.split(r" \((?:embedded|processor): |\)", default))


@pytest.mark.parametrize("service", ["gateway", "processor", "migrate"])
def test_compose_gives_a_service_what_it_needs_and_nothing_unknown(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DatabaseSettings if service == "migrate" else _SETTINGS[service]
    environment = _COMPOSE["services"][service]["environment"]
    passed_on = {name for name, value in environment.items() if value is None}  # from .env, if it is there
    for name in environment.keys() - passed_on:
        monkeypatch.setenv(name, _filled_in(environment[name]))

    read_settings(model)

    assert {name for name in environment if not name.startswith("OTEL_")} <= _names(model)


def _filled_in(value: str) -> str:
    with_defaults = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "secret", with_defaults)


def test_the_sample_environment_names_what_compose_asks_for() -> None:
    sample = set(re.findall(r"^(\w+)=", (_ROOT / ".env.example").read_text(), re.MULTILINE))
    asked = set(re.findall(r"\$\{(\w+)", (_ROOT / "docker-compose.yml").read_text()))

    assert asked - sample <= {"ISOLINE_LOG_LEVEL"}
    assert sample <= asked


def test_compose_refuses_to_start_while_a_secret_of_the_sample_environment_is_empty() -> None:
    empty = set(re.findall(r"^(\w+)=$", (_ROOT / ".env.example").read_text(), re.MULTILINE))
    required = set(re.findall(r"\$\{(\w+):\?", (_ROOT / "docker-compose.yml").read_text()))
    optional = set(re.findall(r"\$\{(\w+):-", (_ROOT / "docker-compose.yml").read_text()))

    assert empty == required
    assert not required & optional


@pytest.mark.parametrize("service", _COMPOSE["services"])
def test_a_container_is_hardened_and_limited(service: str) -> None:
    container = _COMPOSE["services"][service]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", container["user"])
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert container["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("service", _COMPOSE["services"])
def test_an_image_is_pinned_to_a_release_and_ours_is_never_pulled(service: str) -> None:
    container = _COMPOSE["services"][service]
    name, _, tag = container["image"].partition(":")

    if name == "isoline":
        assert tag == version("isoline")
        assert container.get("build") or container["pull_policy"] == "never"
    else:
        assert re.match(r"v?\d+\.\d+", tag)


def test_the_image_is_made_of_a_pinned_one_and_runs_as_a_number() -> None:
    dockerfile = (_ROOT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    [base] = re.findall(r"^ARG PYTHON=(\S+)", dockerfile, re.MULTILINE)

    assert set(bases) == {"${PYTHON}"}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    assert re.findall(r"^USER (.*)", dockerfile, re.MULTILINE) == [_COMPOSE["services"]["gateway"]["user"]]


def test_one_image_is_built_once() -> None:
    builders = [name for name, container in _COMPOSE["services"].items() if "build" in container]

    assert builders == ["migrate"]


def test_only_the_balancer_is_published_beyond_this_machine() -> None:
    published = {
        name: [port for port in container.get("ports", []) if not port.startswith("127.0.0.1:")]
        for name, container in _COMPOSE["services"].items()
    }

    assert [name for name, ports in published.items() if ports] == ["balancer"]
    assert not _COMPOSE["services"]["gateway"].get("ports")  # a second one could not have the same


def test_each_service_has_accounts_of_its_own_and_only_jobs_those_of_administrators() -> None:
    users = {
        (service, name): urlsplit(_filled_in(value)).username
        for service, container in _COMPOSE["services"].items()
        for name, value in container.get("environment", {}).items()
        if name in {"ISOLINE_DATABASE_URL", "ISOLINE_AMQP_URL"}
    }

    assert users == {
        ("gateway", "ISOLINE_DATABASE_URL"): "isoline_gateway",
        ("gateway", "ISOLINE_AMQP_URL"): "isoline_gateway",
        ("processor", "ISOLINE_DATABASE_URL"): "isoline_processor",
        ("processor", "ISOLINE_AMQP_URL"): "isoline_processor",
        ("operator", "ISOLINE_DATABASE_URL"): "isoline_operator",
        ("operator", "ISOLINE_AMQP_URL"): "isoline_operator",
        ("migrate", "ISOLINE_DATABASE_URL"): "isoline_owner",
        ("database-privileges", "ISOLINE_DATABASE_URL"): "isoline_owner",
        ("topology", "ISOLINE_AMQP_URL"): "isoline_admin",
    }


@pytest.mark.parametrize(
    ("job", "command"),
    [("database-privileges", ["db", "grant"]), ("topology", ["topology", "apply", "--grant"])],
)
def test_each_account_is_granted_what_its_service_needs_before_that_starts(
    job: str, command: list[str]
) -> None:
    assert _COMPOSE["services"][job]["command"] == [
        *command,
        *(f"--{service}=isoline_{service}" for service in ("gateway", "processor", "operator")),
    ]
    for service in ("gateway", "processor"):
        assert _COMPOSE["services"][service]["depends_on"][job] == {
            "condition": "service_completed_successfully"
        }


@pytest.mark.parametrize("service", ["gateway", "processor", "operator"])
def test_each_account_is_made_at_both_servers_with_no_rights(service: str) -> None:
    roles = (_ROOT / "deploy/compose/database-roles.sql").read_text()

    assert f"('isoline_{service}')" in roles
    assert f'{{"name": "isoline_{service}", ' in _BROKER_USERS
    assert "GRANT" not in roles
    assert f'"user": "isoline_{service}"' not in _BROKER_USERS


def test_the_balancer_stops_using_a_gateway_long_before_it_stops_accepting() -> None:
    [(every_ms, failures)] = re.findall(r"check inter (\d+)ms fall (\d+)", _BALANCER)
    [resolve_s] = re.findall(r"timeout resolve (\d+)s", _BALANCER)
    drain_s = float(_COMPOSE["services"]["gateway"]["environment"]["ISOLINE_DRAIN_S"])

    assert int(every_ms) / 1000 * int(failures) * 2 <= drain_s
    assert int(resolve_s) * 2 <= drain_s


def test_the_balancer_waits_longer_than_a_long_poll_and_is_given_time_to_stop() -> None:
    seconds = {
        name: int(it)
        for name, it in re.findall(r"^\s+(timeout server|hard-stop-after) (\d+)s", _BALANCER, re.MULTILINE)
    }
    grace_s = int(_COMPOSE["services"]["balancer"]["stop_grace_period"].removesuffix("s"))

    assert seconds["timeout server"] > MAX_WAIT_S
    assert MAX_WAIT_S <= seconds["hard-stop-after"] < grace_s


def test_what_the_balancer_says_by_itself_is_a_problem_and_names_when_to_come_again() -> None:
    said = re.findall(
        r"^\s+http-error status (\d+) content-type (\S+) string '(.*)'(.*)$", _BALANCER, re.MULTILINE
    )

    assert {status for status, *_ in said} == {"400", "408", "502", "503", "504"}
    for status, content_type, body, headers in said:
        assert content_type == "application/problem+json"
        assert json.loads(body)["status"] == int(status)
        assert json.loads(body)["title"] == HTTPStatus(int(status)).phrase
        assert ("hdr Retry-After" in headers) == (int(status) >= 500)


def test_the_gateway_believes_the_one_proxy_in_front_of_it() -> None:
    assert _COMPOSE["services"]["gateway"]["environment"]["ISOLINE_TRUSTED_PROXIES"] == "1"
    assert re.search(r"^\s+option forwardfor$", _BALANCER, re.MULTILINE)


def test_a_sample_secret_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_DATABASE_URL", "postgresql://isoline:change-me@postgres/isoline")
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://isoline:good@rabbitmq/")
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "good")

    with pytest.raises(ConfigurationError, match="ISOLINE_DATABASE_URL: still holds the sample secret"):
        read_settings(GatewaySettings)


def test_the_changelog_of_a_release_is_what_it_was_when_that_was_made() -> None:
    heading = f"\n## {RELEASE_BEFORE.name} ("

    _, _, now = (_ROOT / "CHANGELOG.md").read_text().partition(heading)
    _, _, then = file_of(RELEASE_BEFORE, "CHANGELOG.md").partition(heading)

    assert now == then, "what is new belongs under Unreleased"


def test_the_limits_that_are_shown_are_the_defaults() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| ", (_ROOT / "docs/http.md").read_text(), re.MULTILINE))
    default = {name: field.default for name, field in GatewaySettings.model_fields.items()}

    assert rows["body"].startswith(f"{default['max_body_bytes'] >> 20} MiB, ")
    assert f"within {default['read_timeout_s']:g} s" in rows["head of a request"]
    assert f"within {default['read_timeout_s']:g} s" in rows["body"]
    assert rows["requests in a minute"] == (
        f"{default['rate_per_caller']:,} of a caller, {default['rate_per_address']:,} of an address, "
        f"{default['rate_of_logins']:,} logins of an address"
    )
    assert rows["bodies in memory at a time"].startswith(f"{default['max_bytes_in_flight'] >> 20} MiB in all")
    assert rows["long ECGs on disk while they arrive"].startswith(
        f"{default['max_spooled_bytes'] >> 30} GiB in all"
    )
    assert rows["ECGs that are queued"] == f"{default['max_backlog']:,}"


@pytest.mark.parametrize("document", ["README.md", "docs/events.md"])
def test_the_event_that_is_shown_is_what_services_publish(document: str) -> None:
    [example] = re.findall(r"```json\n(.*?)```", (_ROOT / document).read_text(), re.DOTALL)
    event = json.loads(example)

    published = processed_event(
        EcgKey(event["data"]["owner"], event["data"]["id"], event["data"]["generation"]),
        {name: event["data"][name] for name in ("leads", "insights")},
        source=event["source"],
        now=datetime.fromisoformat(event["time"]),
        traceparent=event["traceparent"],
    )

    assert event == json.loads(published.body)


_ARCHITECTURE: Final = (_ROOT / "docs/architecture.md").read_text()
_PACKAGES: Final = ("gateway", "processor", "shared", "isoline")


def test_the_architecture_names_each_folder_of_the_code_and_no_other() -> None:
    folders = {
        f"{path.parent.relative_to(_ROOT)}/"
        for package in _PACKAGES
        for path in (_ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }

    named = set(re.findall(r"^\| `([a-z_/]+/)` \|", _ARCHITECTURE, re.MULTILINE))

    assert folders <= named
    assert [folder for folder in named if not (_ROOT / folder).is_dir()] == []


def test_each_file_that_the_architecture_names_is_there() -> None:
    files = re.findall(rf"`((?:{'|'.join(_PACKAGES)})/[a-z_/]+\.py)`", _ARCHITECTURE)

    assert len(files) > 20
    assert [file for file in files if not (_ROOT / file).is_file()] == []


def test_the_table_of_the_operations_api_names_each_route_with_its_role_and_commands_that_exist() -> None:
    section = (_ROOT / "docs/operations.md").read_text().split("\n## Operations API\n")[1].split("\n## ")[0]
    rows = re.findall(
        r"^\| `([A-Z]+ /ops\S+)`(?:, `\.\.\.(\S+)`)? \| (\w+) \| .* \|(.*)\|$", section, re.MULTILINE
    )
    named = {}
    for route, other, role, _ in rows:
        for path in (route, re.sub(r"/\w+$", other, route)) if other else (route,):
            named[path] = role

    assert named == {
        f"{route.method} {route.path}": "observer" if Role.OBSERVER in route.roles else "operator"
        for route in OPS_ROUTES
    }
    for command in re.findall(r"`isoline ([^`]*)`", " ".join(commands for *_, commands in rows)):
        words = [word for word in command.split() if not word.startswith("--")]
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, command


def test_the_index_of_the_migrations_names_each_in_order() -> None:
    folder = _ROOT / "migrations"

    indexed = re.findall(r"^\| `(\d{4}_\w+)` \|", (folder / "README.md").read_text(), re.MULTILINE)

    assert indexed == sorted(path.stem for path in folder.glob("*.sql"))


def test_no_folder_of_the_code_has_too_many_files_to_take_in() -> None:
    counts: dict[Path, int] = {}
    for package in _PACKAGES:
        for path in (_ROOT / package).rglob("*.py"):
            counts[path.parent] = counts.get(path.parent, 0) + (path.name != "__init__.py")

    assert {folder: count for folder, count in counts.items() if count > 14} == {}
