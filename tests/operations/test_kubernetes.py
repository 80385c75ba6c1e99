"""The manifests in `deploy/kubernetes`: valid, hardened, and in agreement with the services."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import asyncpg
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from typer.testing import CliRunner

from isoline.cli.app import app
from shared.egress import EgressRules
from shared.runtime.health import Health, health_part_of_process
from shared.runtime.operations_port import open_operations_port
from shared.runtime.process import SHUTDOWN_LIMIT_S
from shared.runtime.settings import (
    BrokerSettings,
    DatabaseSettings,
    GatewaySettings,
    ProcessorSettings,
    read_settings,
)
from shared.service import Service
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.schema.grants import grant
from tests.support.builders import a_submission
from tests.support.databases import open_connection
from tests.support.metrics import metrics_of
from tests.support.roles import open_role, url_of_role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel
    from pydantic_settings import BaseSettings

    from shared.storage.pool.database import Database

_ROOT: Final = Path(__file__).parents[2]
_FOLDER: Final = _ROOT / "deploy/kubernetes"
_DOCUMENT: Final = (_ROOT / "docs/kubernetes.md").read_text()
# The oldest of the packaged schemas that a kept release of Kubernetes has, and the newest.
_RELEASES: Final = ("1.32", "1.37")
_KEDA: Final[dict[str, type[BaseModel]]] = {
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
}
_NAME: Final = "app.kubernetes.io/name"
_COMPONENT: Final = "app.kubernetes.io/component"


def built(folder: str) -> list[dict[str, Any]]:
    """The objects that kustomize makes of a folder; it refuses what it does not know."""
    beside_python = Path(sys.executable).parent
    if program := shutil.which("kustomize", path=beside_python) or shutil.which("kustomize"):
        command = [program, "build"]
    else:
        program = shutil.which("kubectl")
        assert program, "kustomize is missing: scripts/install-kustomize"
        command = [program, "kustomize"]
    made = subprocess.run(  # noqa: S603
        [*command, _FOLDER / folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0, made.stderr
    assert not made.stderr, "kustomize warns"
    return list(yaml.safe_load_all(made.stdout))


_EXAMPLE: Final = built("example")
_BASE: Final = built("base")


def called(object_: Mapping[str, Any]) -> str:
    return f"{object_['kind']}/{object_['metadata']['name']}"


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [object_ for object_ in _EXAMPLE if object_["kind"] in kinds]


_PODS: Final = {
    object_["metadata"]["name"]: object_["spec"]["template"] for object_ in of_kind("Deployment", "Job")
}
_CONTAINERS: Final = {
    f"{name} {container['name']}": container
    for name, pod in _PODS.items()
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
}
_SERVICES: Final[dict[str, type[BaseSettings]]] = {
    "isoline-gateway": GatewaySettings,
    "isoline-processor": ProcessorSettings,
    "isoline-migrate": DatabaseSettings,
    "isoline-topology": BrokerSettings,
    "isoline-operator": DatabaseSettings,
}


@pytest.mark.parametrize("object_", _EXAMPLE + _BASE, ids=called)
def test_each_object_is_what_kubernetes_or_keda_takes(object_: dict[str, Any]) -> None:
    if model := _KEDA.get(object_["kind"]):
        read = model.model_validate(object_)

        kept = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert kept["spec"] == object_["spec"], "KEDA does not know it all"
    else:
        for release in _RELEASES:
            kubernetes_validate.validate(object_, release, strict=True)


@pytest.mark.parametrize("name", _PODS)
def test_a_pod_is_hardened_as_the_restricted_standard_of_kubernetes_asks(name: str) -> None:
    pod = _PODS[name]["spec"]
    [namespace] = of_kind("Namespace")
    [user] = re.findall(r"^USER (\d+):\1$", (_ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_the_image_is_ours_of_this_release() -> None:
    assert {container["image"] for container in _CONTAINERS.values()} == {
        f"registry.example.org/isoline:{version('isoline')}"
    }
    base = {
        container["image"]
        for object_ in _BASE
        for container in object_.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    }
    assert base == {f"isoline:{version('isoline')}"}


def secrets_of(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each secret that a pod mounts, with its key and the file that has it."""
    [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "secrets"]
    whole = volume.get("secret", {})
    sources = [(whole.get("secretName"), whole.get("items", []))] + [
        (source["secret"]["name"], source["secret"]["items"])
        for source in volume.get("projected", {}).get("sources", [])
    ]
    for name, items in sources:
        for item in items:
            yield name, item["key"], item["path"]


def settings_of(pod: Mapping[str, Any], secrets: Path) -> dict[str, str]:
    """The environment of a pod's first container, and its secrets as files in a folder."""
    maps = {called(object_): object_["data"] for object_ in of_kind("ConfigMap")}
    [container] = pod["spec"]["containers"]
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        environment |= maps[f"ConfigMap/{source['configMapRef']['name']}"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "secrets"]
    assert mount["mountPath"] == environment["ISOLINE_SECRETS_DIR"]
    for _, key, path in secrets_of(pod):
        # As Kubernetes mounts them: files of a folder that is replaced as a whole.
        (secrets / "..data").mkdir(exist_ok=True)
        (secrets / "..data" / path).write_text(_A_SECRET[key])
        (secrets / path).symlink_to(Path("..data") / path)
    return environment | {"ISOLINE_SECRETS_DIR": str(secrets)}


_A_SECRET: Final = {
    "ISOLINE_DATABASE_URL": "postgresql://of:password@db.example.org/isoline?sslmode=verify-full",
    "ISOLINE_AMQP_URL": "amqps://of:password@mq.example.org/?cafile=/etc/isoline/ca.pem",
    "ISOLINE_TOKEN_KEY": "c2VlZA==",
}


@pytest.mark.parametrize("name", _SERVICES)
def test_a_pod_has_the_settings_that_its_process_needs_and_none_that_nothing_knows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = settings_of(_PODS[name], tmp_path)
    for setting, value in environment.items():
        monkeypatch.setenv(setting, value)

    settings = read_settings(_SERVICES[name])

    known = {f"ISOLINE_{field.upper()}" for field in GatewaySettings.model_fields}
    assert set(environment) - known == {"ISOLINE_SECRETS_DIR"}
    [container] = _PODS[name]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    if isinstance(settings, GatewaySettings):
        assert ports == {"http": settings.port, "operations": settings.operations_port}
        assert settings.spool_dir in {mount["mountPath"] for mount in container["volumeMounts"]}
    elif isinstance(settings, ProcessorSettings):
        assert ports == {"operations": settings.operations_port}
    if ports:
        assert getattr(settings, "operations_host") == "0.0.0.0"  # noqa: B009, S104


@pytest.mark.parametrize("name", ["isoline-gateway", "isoline-processor"])
async def test_a_probe_asks_what_the_operations_port_answers(name: str) -> None:
    [container] = _PODS[name]["spec"]["containers"]
    probes = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    told_to_stop = asyncio.Event()
    health = Health({"process": health_part_of_process(told_to_stop)})
    answered: dict[str, list[int]] = {probe: [] for probe in probes}
    async with (
        open_operations_port("127.0.0.1", 0, health=health, metrics=metrics_of(health)) as address,
        aiohttp.ClientSession(address) as session,
    ):
        for _ in range(2):
            for probe, question in probes.items():
                async with session.get(question["path"]) as answer:
                    answered[probe].append(answer.status)
            told_to_stop.set()

    assert {question["port"] for question in probes.values()} == {"operations"}
    assert answered == {"startup": [200, 200], "liveness": [200, 200], "readiness": [200, 503]}


@pytest.mark.parametrize("name", ["isoline-gateway", "isoline-processor"])
def test_a_pod_is_killed_only_after_it_had_to_be_gone_by_itself(name: str) -> None:
    pod = _PODS[name]["spec"]
    maps = {key: value for object_ in of_kind("ConfigMap") for key, value in object_["data"].items()}

    assert pod["terminationGracePeriodSeconds"] > SHUTDOWN_LIMIT_S > float(maps["ISOLINE_DRAIN_S"])
    assert "preStop" not in str(pod)


def test_a_roll_out_and_a_drained_node_leave_a_service_there() -> None:
    for deployment in of_kind("Deployment"):
        if called(deployment) != "Deployment/isoline-operator":
            assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budgets = {called(budget): budget["spec"] for budget in of_kind("PodDisruptionBudget")}
    assert [budget["maxUnavailable"] for budget in budgets.values()] == [1, 1]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of a Service (labels) or of another object selects a pod with these labels."""
    wanted = selector if _NAME in selector else selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


def test_each_selector_selects_the_pods_of_its_name() -> None:
    pods = {name: pod["metadata"]["labels"] for name, pod in _PODS.items()}
    selectors = {
        called(object_): object_["spec"].get("podSelector", object_["spec"].get("selector"))
        for object_ in of_kind("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
    }
    selected = {
        of: {name.removeprefix("isoline-") for name, labels in pods.items() if matches(selector, labels)}
        for of, selector in selectors.items()
    }

    everyone = {"gateway", "processor", "operator", "migrate", "topology"}
    assert selected == {
        "Deployment/isoline-gateway": {"gateway"},
        "Deployment/isoline-processor": {"processor"},
        "Deployment/isoline-operator": {"operator"},
        "Service/isoline-gateway": {"gateway"},
        "Service/isoline-gateway-operations": {"gateway"},
        "Service/isoline-processor-operations": {"processor"},
        "PodDisruptionBudget/isoline-gateway": {"gateway"},
        "PodDisruptionBudget/isoline-processor": {"processor"},
        "NetworkPolicy/isoline": everyone,
        "NetworkPolicy/isoline-gateway": {"gateway"},
        "NetworkPolicy/isoline-operations": {"gateway", "processor"},
        "NetworkPolicy/isoline-postgresql": everyone - {"topology"},
        "NetworkPolicy/isoline-rabbitmq": everyone - {"migrate"},
        "NetworkPolicy/isoline-rabbitmq-management": {"topology"},
        "NetworkPolicy/isoline-webhooks": {"processor"},
    }


def test_a_port_that_a_service_or_a_policy_names_is_one_of_its_pods() -> None:
    for object_ in of_kind("Service", "NetworkPolicy"):
        spec = object_["spec"]
        ports = [port["targetPort"] for port in spec.get("ports", [])]
        ports += [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        for pod in _PODS.values():
            if ports and matches(spec.get("podSelector", spec.get("selector")), pod["metadata"]["labels"]):
                [container] = pod["spec"]["containers"]
                assert set(ports) <= {port["name"] for port in container["ports"]}


def test_processors_reach_no_address_for_webhooks_that_no_webhook_may_call() -> None:
    [policy] = [each for each in of_kind("NetworkPolicy") if each["metadata"]["name"] == "isoline-webhooks"]
    [rule] = policy["spec"]["egress"]
    [ipv4, ipv6] = [to["ipBlock"] for to in rule["to"]]
    closed = [ip_network(each) for each in ipv4["except"]]

    assert (ipv4["cidr"], ipv6) == ("0.0.0.0/0", {"cidr": "2000::/3"})
    for address in (
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
    ):
        assert any(ip_address(address) in network for network in closed), address
    for network in closed:
        for edge in (network[0], network[-1]):
            assert EgressRules().refusal(edge, scheme="https"), edge


def test_no_secret_is_in_the_tree_and_each_that_is_read_is_in_the_table_with_its_keys() -> None:
    rows = re.findall(r"^\| `(isoline-[a-z-]+)` \| (`.*?`) \| ", _DOCUMENT, re.MULTILINE)
    documented = {name: set(re.findall(r"`([^`]+)`", keys)) for name, keys in rows}
    read: dict[str, set[str]] = {}
    for pod in _PODS.values():
        for name, key, _ in secrets_of(pod):
            read.setdefault(name, set()).add(key)
    for reference in of_kind("TriggerAuthentication")[0]["spec"]["secretTargetRef"]:
        read.setdefault(reference["name"], set()).add(reference["key"])

    assert of_kind("Secret") == []
    assert read == documented


def test_a_process_has_the_secret_of_its_service_and_no_other() -> None:
    assert {name: {secret for secret, _, _ in secrets_of(pod)} for name, pod in _PODS.items()} == {
        "isoline-gateway": {"isoline-gateway", "isoline-operator"},
        "isoline-processor": {"isoline-processor"},
        "isoline-operator": {"isoline-operator"},
        "isoline-migrate": {"isoline-database-owner"},
        "isoline-topology": {"isoline-broker-administrator"},
    }


@pytest.mark.parametrize("job", ["isoline-migrate grant", "isoline-topology apply"])
def test_a_job_grants_each_account_that_the_page_makes_what_its_service_needs(
    job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://administrator:secret@mq.example.org/")
    accounts = set(re.findall(r"CREATE ROLE (isoline_\w+)", _DOCUMENT)) - {"isoline_owner"}
    if job == "isoline-topology apply":
        [users] = re.findall(r"for user in (.*?);", _DOCUMENT)
        accounts = set(users.split())

    printed = CliRunner().invoke(app, [*_CONTAINERS[job]["args"], "--print"])

    assert printed.exit_code == 0, printed.output
    assert accounts
    assert {account for account in accounts if account not in printed.output} == set()


def test_the_schema_is_migrated_before_anything_is_granted() -> None:
    pod = _PODS["isoline-migrate"]["spec"]

    assert [container["args"] for container in pod["initContainers"]] == [["migrate"]]
    assert pod["restartPolicy"] == "Never"


def test_processors_are_scaled_within_bounds_and_not_down_within_a_batch() -> None:
    [scaled] = of_kind("ScaledObject")
    behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    grace_s = _PODS["isoline-processor"]["spec"]["terminationGracePeriodSeconds"]
    [processor] = [each for each in of_kind("Deployment") if called(each) == "Deployment/isoline-processor"]

    assert scaled["spec"]["scaleTargetRef"]["name"] == "isoline-processor"
    assert "replicas" not in processor["spec"]  # or each `kubectl apply` would set them
    assert 1 == scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] > 2 * grace_s
    assert scaled["spec"]["cooldownPeriod"] > 2 * grace_s
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["type"] == "postgresql"
        assert trigger["metadata"].keys() == {"query", "targetQueryValue"}
        assert float(trigger["metadata"]["targetQueryValue"]) > 0
    [authentication] = of_kind("TriggerAuthentication")
    assert {each["parameter"] for each in authentication["spec"]["secretTargetRef"]} == {
        *("host", "port", "dbName", "userName", "password", "sslmode")
    }


async def test_the_autoscaler_reads_what_isoline_ops_backlog_says_and_may_read_nothing_else(
    database: Database, database_url: str
) -> None:
    store, reader = PostgresEcgStore(database), PostgresBacklogReader(database)
    async with open_role(database_url, "scaler") as role, open_connection(database_url) as owner:
        await grant(database_url, {role: {Service.SCALER}})
        async with open_connection(url_of_role(database_url, role)) as scaler:
            empty = await asked(scaler)
            await store.add([a_submission(str(number)) for number in range(3)])
            await owner.execute("UPDATE ecg SET submitted_at = now() - interval '100 s' WHERE id = '1'")
            # A replayed ECG was stored long ago and queued just now; no service goes there in one step.
            await owner.execute(
                "ALTER TABLE ecg DISABLE TRIGGER ALL;"
                "UPDATE ecg SET submitted_at = now() - interval '1 day', generation = 2 WHERE id = '2';"
                "ALTER TABLE ecg ENABLE TRIGGER ALL"
            )
            before = await reader.read()
            queued, age_s = await asked(scaler)
            after = await reader.read()

            for statement in ("SELECT owner FROM ecg", "SELECT FROM account", "DELETE FROM ecg"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await scaler.execute(statement)

    assert empty == [0, 0]
    assert queued == before.queued_ecgs == 3
    assert 100 <= before.oldest_ecg_s <= age_s <= after.oldest_ecg_s


async def asked(connection: asyncpg.Connection[asyncpg.Record]) -> list[float]:
    """What each trigger's query gives: one number."""
    [scaled] = of_kind("ScaledObject")
    values = []
    for trigger in scaled["spec"]["triggers"]:
        [[value]] = await connection.fetch(trigger["metadata"]["query"])
        assert isinstance(value, float)
        values.append(value)
    return values


def test_prometheus_finds_the_pods_by_the_names_that_the_alerts_know() -> None:
    [configuration] = re.findall(r"```yaml\n(scrape_configs:.*?)```", _DOCUMENT, re.DOTALL)
    jobs = {
        job["job_name"]: job["dns_sd_configs"][0] for job in yaml.safe_load(configuration)["scrape_configs"]
    }
    alerts = (_ROOT / "deploy/observability/alerts.yml").read_text()
    headless = {
        service["metadata"]["name"]: service["spec"]["ports"][0]["port"]
        for service in of_kind("Service")
        if service["spec"].get("clusterIP") == "None"
    }

    assert set(re.findall(r'job="([^"]+)"', alerts)) <= jobs.keys()
    assert {job["names"][0]: job["port"] for job in jobs.values()} == {
        f"{name}.isoline.svc.cluster.local": port for name, port in headless.items()
    }
