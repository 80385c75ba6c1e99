"""Private RabbitMQ nodes, alone or as a cluster: own ports and data, removed afterwards, as root or not.

They are of this machine's version or, with RABBITMQ=4 in the environment, of the one that
scripts/install-rabbitmq4 has unpacked.

Debian's `rabbitmq-server` on PATH is a wrapper that refuses every user but its own; the script in
the library folder, which it would call in the end, refuses nobody.
"""

import asyncio
import os
import random
import secrets
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

import aio_pika
import aio_pika.exceptions
from yarl import URL

from tests.support.servers.listeners import listens

# Neither alarm may go off because the test machine is small.
_CONFIGURATION = """\
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.relative = 0.9
"""
# A node that was frozen for long comes back as a partition; autoheal restarts it.
_CLUSTER = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = autoheal
"""
# One scheduler that does not spin while idle: the node shares the machine with what is tested, and two took
# 66 us for a small event to a quorum queue instead of 44.
# A silent peer is given up after 8 s instead of 60, so that no test has to wait so long.
_ERL_ARGS = (
    "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
    " -kernel inet_dist_use_interface {127,0,0,1} -kernel net_ticktime 8"
)
_PORTS = range(20_000, 32_000)  # below the ephemeral ports, so that none is taken while the node is down
_START_S = 120.0  # three nodes on a busy machine; one alone needs 4
_STOP_S = 30.0
_POLL_S = 0.05
_LOG_LINES = 100


class _Release(NamedTuple):
    """Where Debian's packages of a release are, and what its nodes have beside what all have."""

    root: Path
    configuration: str = ""
    environment: Mapping[str, str] = MappingProxyType({})


_SCRIPT = "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"
_UNPACKED = Path(__file__).parents[3] / os.environ.get("ISOLINE_VAR", "var") / "rabbitmq4"
# RabbitMQ 4 as its later releases are: deprecated features are off, and metadata is in Khepri.
_DEPRECATED = "amqp_address_v1 global_qos queue_master_locator ram_node_type transient_nonexcl_queues"
_FEATURES = (
    "khepri_db message_containers_deaths_v2 quorum_queue_non_voters"
    " rabbit_exchange_type_local_random rabbitmq_4.0.0"
)
_RELEASES = {  # by the value of RABBITMQ
    "": _Release(Path("/")),
    "4": _Release(
        _UNPACKED,
        "".join(f"deprecated_features.permit.{name} = false\n" for name in _DEPRECATED.split()),
        {
            "PATH": f"{_UNPACKED / 'usr/lib/erlang/bin'}:{os.environ['PATH']}",
            "RABBITMQ_FEATURE_FLAGS": _FEATURES.replace(" ", ","),
        },
    ),
}


class RabbitmqServerError(Exception):
    """The node did not start; the message holds the end of its log."""


class RabbitmqServer:
    """A node whose port and data stay the same while it is stopped, killed and started."""

    def __init__(self, home: Path, script: Path, ports: Sequence[int]) -> None:
        amqp_port = ports[0]
        self.name = _name(amqp_port)
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{amqp_port}/"
        self.log = home / f"rabbitmq-{amqp_port}.log"
        self._script = script
        self._environment = _environment(home, ports)
        self._process: Process | None = None

    async def start(self) -> None:
        """Return once the node, which must not be running, accepts AMQP connections.

        Raises:
            RabbitmqServerError: It ended, or was not ready in time.
        """
        self._process = await _spawn([self._script], self._environment, self.log)
        try:
            async with asyncio.timeout(_START_S):
                await _until_ready(self._process, self.amqp_url)
        except (TimeoutError, ChildProcessError) as error:
            await self.kill()
            raise RabbitmqServerError(f"{error or 'not ready in time'}\n{_last_lines(self.log)}") from error

    async def stop(self) -> None:
        """Stop the node in order; persistent messages stay. Nothing happens when it is down."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill the node, like a power cut. Nothing happens when it is down."""
        await self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every process of the node. Nothing happens when it is down."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on the node; what it prints.

        Raises:
            RabbitmqServerError: It failed; the message holds what it said.
        """
        process = await asyncio.create_subprocess_exec(
            self._script.with_name("rabbitmqctl"),
            *("--quiet", *arguments),
            env=self._environment,
            stdout=PIPE,
            stderr=STDOUT,
        )
        printed, _ = await process.communicate()
        if process.returncode != 0:
            raise RabbitmqServerError(f"rabbitmqctl {arguments[0]}: {printed.decode()}")
        return printed.decode()

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            await _end(self._process, number)


@asynccontextmanager
async def open_rabbitmq_server(folder: Path) -> AsyncIterator[RabbitmqServer]:
    """Run a node of its own, with all its files in `folder`/rabbitmq, which is removed at the end.

    Raises:
        FileNotFoundError: RabbitMQ is not installed.
        RabbitmqServerError: It did not start.
    """
    async with open_rabbitmq_cluster(folder, 1) as [server]:
        yield server


@asynccontextmanager
async def open_rabbitmq_cluster(folder: Path, size: int) -> AsyncIterator[list[RabbitmqServer]]:
    """Run so many nodes as one cluster, with all their files in `folder`/rabbitmq, removed at the end.

    Raises:
        FileNotFoundError: RabbitMQ is not installed.
        RabbitmqServerError: One of them did not start.
    """
    script = rabbitmq_script()
    epmd_port, *ports = _free_ports(1 + 2 * size)
    ports_of_each = [(ports[2 * node], ports[2 * node + 1], epmd_port) for node in range(size)]
    home = _prepare_home(folder, [_name(amqp_port) for amqp_port, _, _ in ports_of_each])
    try:
        async with _run_epmd(_environment(home, ports_of_each[0]), epmd_port, home / "epmd.log"):
            nodes = [RabbitmqServer(home, script, ports) for ports in ports_of_each]
            try:
                await asyncio.gather(*(node.start() for node in nodes))
                yield nodes
            finally:
                await asyncio.gather(*(node.stop() for node in nodes))
    finally:
        shutil.rmtree(home)


def rabbitmq_script() -> Path:
    """Find the start script that any user may call.

    Raises:
        FileNotFoundError: RabbitMQ is not installed.
    """
    version = os.environ.get("RABBITMQ", "")
    found = sorted(_chosen().root.glob(_SCRIPT))
    on_path = None if version else shutil.which("rabbitmq-server")
    if not found and on_path is None:
        by = "make rabbitmq4" if version else "scripts/install-rabbitmq as root"
        raise FileNotFoundError(f"RabbitMQ {version} is not installed: run {by}")
    return found[-1] if found else Path(str(on_path))


def _chosen() -> _Release:
    version = os.environ.get("RABBITMQ", "")
    if version not in _RELEASES:
        raise ValueError(f"RABBITMQ={version}: expected 4, or nothing for this machine's")
    return _RELEASES[version]


def _free_ports(count: int) -> list[int]:
    candidates = random.sample(_PORTS, len(_PORTS))
    free = (port for port in candidates if _is_free(port))
    return [next(free) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _name(amqp_port: int) -> str:
    return f"isoline-{amqp_port}@localhost"


def _prepare_home(folder: Path, names: Sequence[str]) -> Path:
    home = folder / "rabbitmq"
    home.mkdir(parents=True)
    peers = _peers(names) if len(names) > 1 else ""
    (home / "rabbitmq.conf").write_text(_CONFIGURATION + _chosen().configuration + peers)
    (home / "enabled_plugins").write_text("[].\n")
    cookie = home / ".erlang.cookie"  # else nodes that start at the same time would each write one
    cookie.write_text(secrets.token_hex())
    cookie.chmod(0o400)
    return home


def _peers(names: Sequence[str]) -> str:
    peers = (f"cluster_formation.classic_config.nodes.{n} = {name}\n" for n, name in enumerate(names, 1))
    return _CLUSTER + "".join(peers)


def _environment(home: Path, ports: Sequence[int]) -> Mapping[str, str]:
    amqp_port, distribution_port, epmd_port = ports
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),  # of the Erlang cookie
        "ERL_CRASH_DUMP_BYTES": "0",  # no dump
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": _name(amqp_port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(amqp_port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),  # else the one below /etc is read
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERL_ARGS,
        "RUNNING_UNDER_SYSTEMD": "true",  # makes the script become the node instead of its parent
        **_chosen().environment,
    }


@asynccontextmanager
async def _run_epmd(environment: Mapping[str, str], port: int, log: Path) -> AsyncIterator[None]:
    """Run Erlang's name server as our child; a node that finds none starts a daemon that stays."""
    epmd = await _spawn(["epmd"], environment, log)
    try:
        async with asyncio.timeout(_START_S):
            await _until_listening(port)
        yield
    finally:
        await _end(epmd, signal.SIGTERM)


async def _until_listening(port: int) -> None:
    while True:
        with suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(_POLL_S)


async def _spawn(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Process:
    with _appending(log) as output:
        return await asyncio.create_subprocess_exec(
            *_tied_to_us(),
            *command,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            env=environment,
            cwd=log.parent,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop the node
        )


def _appending(log: Path) -> BinaryIO:
    return log.open("ab")


def _tied_to_us() -> list[str]:
    """Command prefix with which the kernel kills the child when the test run is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL"] if setpriv else []


async def _until_ready(process: Process, amqp_url: str) -> None:
    port = URL(amqp_url).port
    assert port
    while process.returncode is None:
        # Failed connections are closed too, which `aio_pika.connect` leaves to the garbage collector.
        async with aio_pika.Connection(URL(amqp_url)) as connection:
            with suppress(OSError, aio_pika.exceptions.AMQPError):
                await connection.connect(timeout=_START_S)
                if listens(process.pid, port):
                    return
        await asyncio.sleep(_POLL_S)
    raise ChildProcessError(f"RabbitMQ ended with status {process.returncode}")


async def _end(process: Process, number: signal.Signals) -> None:
    """End the process by signal `number`, or by SIGKILL if it does not end."""
    for attempt in (number, signal.SIGKILL):
        _signal(process, attempt)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await process.wait()
                return


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is not None:
        return
    # The whole group at once, in case the script has not become the node; an orderly end is passed on.
    send = os.killpg if number is signal.SIGKILL else os.kill
    with suppress(ProcessLookupError):
        send(process.pid, number)


def _last_lines(log: Path) -> str:
    with log.open(errors="replace") as lines:
        return "".join(deque(lines, _LOG_LINES))
