"""The alerts, the dashboard and what scrapes them, in `deploy/observability`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).parents[2]
_FOLDER: Final = _ROOT / "deploy/observability"
_ALERTS: Final = _FOLDER / "alerts.yml"
_RULES: Final[list[dict[str, Any]]] = yaml.safe_load(_ALERTS.read_text())["groups"][0]["rules"]
_DASHBOARD: Final[dict[str, Any]] = json.loads((_FOLDER / "grafana/isoline.json").read_text())
_COMPOSE: Final[dict[str, Any]] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
_SUFFIXES: Final = ("_bucket", "_count", "_sum", "_total", "_info", "")
_PANELS: Final = [panel for panel in _DASHBOARD["panels"] if panel["type"] != "row"]
_EXPRESSIONS: Final = {
    **{rule["alert"]: rule["expr"] for rule in _RULES},
    **{f"{panel['title']} {each['refId']}": each["expr"] for panel in _PANELS for each in panel["targets"]},
}


def promtool(*arguments: str | Path) -> str:
    """What promtool prints; it ends with 0."""
    program = shutil.which("promtool", path=Path(sys.executable).parent) or shutil.which("promtool")
    assert program, "promtool is missing: scripts/install-promtool"
    ended = subprocess.run(  # noqa: S603
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def series_of(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of ours that an expression reads, with the labels that it is selected by."""
    for name, selected in re.findall(r"\b(isoline_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*[!=]", selected))


def exposed() -> dict[str, set[str]]:
    """The labels of each metric that a service exposes, by its name and by those of its series."""
    for service in ("gateway.__main__", "processor.__main__"):
        import_module(service)
    families = [family for family in REGISTRY.collect() if family.name.startswith("isoline_")]
    return {
        family.name + suffix: {label for sample in family.samples for label in sample.labels}
        for family in families
        for suffix in _SUFFIXES
    }


def test_prometheus_takes_the_rules_and_the_scrape_configuration(tmp_path: Path) -> None:
    configuration = (
        (_FOLDER / "prometheus.yml").read_text().replace("/etc/prometheus/alerts.yml", str(_ALERTS))
    )
    (tmp_path / "prometheus.yml").write_text(configuration)

    assert str(_ALERTS) in configuration
    assert f"{len(_RULES)} rules found" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_none_while_all_is_well(tmp_path: Path) -> None:
    trials = (_ROOT / "tests/operations/alerts.yml").read_text()
    (tmp_path / "alerts_test.yml").write_text(trials.replace("[ALERTS]", f"[{_ALERTS}]"))

    promtool("test", "rules", tmp_path / "alerts_test.yml")

    tried = [each for trial in yaml.safe_load(trials)["tests"] for each in trial["alert_rule_test"]]
    alerts = {rule["alert"] for rule in _RULES}
    assert {each["alertname"] for each in tried if each.get("exp_alerts")} == alerts
    assert {each["alertname"] for each in tried if not each.get("exp_alerts")} == alerts


@pytest.mark.parametrize("expression", _EXPRESSIONS.values(), ids=_EXPRESSIONS.keys())
def test_each_metric_of_an_alert_or_a_panel_is_exposed(expression: str) -> None:
    known, read = exposed(), list(series_of(expression))

    assert read or "up{" in expression
    assert [name for name, _ in read if name not in known] == []
    # A metric with labels that nothing has used yet shows none.
    unknown = {name: labels - known[name] for name, labels in read if known[name]}
    assert not any(unknown.values()), unknown


def test_compose_scrapes_the_port_on_which_each_worker_answers() -> None:
    jobs = yaml.safe_load((_FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    scraped = [names for job in jobs for names in job["dns_sd_configs"]]

    for [service], port in ((each["names"], each["port"]) for each in scraped):
        assert _COMPOSE["services"][service]["environment"]["ISOLINE_OPERATIONS_PORT"] == str(port)
    for service in ("prometheus", "grafana"):
        mounted = [volume.split(":")[0] for volume in _COMPOSE["services"][service]["volumes"]]
        assert all((_ROOT / path).is_file() for path in mounted if path.startswith("."))
        assert all(port.startswith("127.0.0.1:") for port in _COMPOSE["services"][service]["ports"])
