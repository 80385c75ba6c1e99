"""What single requests cost a service: CPU of its event loop, of all its threads, and memory."""

from __future__ import annotations

import itertools
import multiprocessing
import secrets
import socket
import statistics
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.programs.hostile.shapes import SALT, SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.synchronize import Event

    from tests.programs.hostile.shapes import Shape

MAX_LOOP_S: Final = 0.05
MAX_CPU_S: Final = 1.0
MAX_MEMORY_OF_BODY: Final = 3.0
MAX_BYSTANDER_S: Final = 0.02

# Everything else on the machine only adds to what a request takes.
_TRIES: Final = 3
# Below this the growth of a process says more of its allocator than of a request.
_NO_MEMORY_MIB: Final = 16.0
# Its answer and its record in the log, until both are written.
_OF_A_REQUEST_BYTES: Final = 4096
_ANSWER_WITHIN_S: Final = 30.0
_SETTLED_WITHIN_S: Final = 10.0
_QUIET_S: Final = 0.02
_HEAD_BYTES: Final = 2**20
_ATTACKERS: Final = 2
_ATTACK_S: Final = 20.0
_MIB: Final = 2**20


class Cost(NamedTuple):
    """What one request of a shape cost.

    Attributes:
        status: Of the answer; 0 without one.
        loop_s: CPU of the thread of the event loop.
        cpu_s: CPU of all threads.
        memory_mib: How much more memory there was at the most.
    """

    shape: Shape
    status: int
    loop_s: float
    cpu_s: float
    memory_mib: float

    @property
    def max_memory_mib(self) -> float:
        """What it may have taken."""
        allowed = MAX_MEMORY_OF_BODY * self.shape.body_bytes + self.shape.requests * _OF_A_REQUEST_BYTES
        return max(_NO_MEMORY_MIB, allowed / _MIB)

    @property
    def is_kept(self) -> bool:
        """Whether it is within all bounds."""
        is_in_time = self.loop_s <= MAX_LOOP_S and self.cpu_s <= MAX_CPU_S
        return is_in_time and self.memory_mib <= self.max_memory_mib


def cost_of(shape: Shape, *, pid: int, port: int, token: str) -> Cost:
    """The least time that it took in some tries, and the most memory: a process gives little of that back."""
    request = shape.request(token)
    costs = [_cost(shape, request, pid, port) for _ in range(_TRIES)]
    return Cost(
        shape,
        costs[-1].status,
        min(cost.loop_s for cost in costs) / shape.requests,
        min(cost.cpu_s for cost in costs) / shape.requests,
        max(cost.memory_mib for cost in costs),
    )


def bystander_s(shapes: Sequence[Shape], *, port: int, token: str) -> float:
    """How long a bystander's requests take in the median while others send these shapes again and again."""
    names = [(shape.route, shape.what) for shape in shapes]
    context = multiprocessing.get_context("spawn")  # threads here would keep each other waiting
    is_ready = context.Event()
    attackers = context.Process(target=_attack, args=(names, port, token, is_ready), daemon=True)
    attackers.start()
    try:
        assert is_ready.wait(_ANSWER_WITHIN_S)
        return statistics.median(_times_of_bystander(port))
    finally:
        attackers.kill()
        attackers.join()


def _times_of_bystander(port: int) -> Iterator[float]:
    end = time.monotonic() + _ATTACK_S
    while time.monotonic() < end:
        begun = time.perf_counter()
        assert (
            _send(port, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == HTTPStatus.OK
        )
        yield time.perf_counter() - begun
        time.sleep(_QUIET_S)


def _attack(names: Sequence[tuple[str, str]], port: int, token: str, is_ready: Event) -> None:
    """Send the shapes of these names, for ever."""
    requests = [shape.request(token) for shape in SHAPES if (shape.route, shape.what) in names]

    def send(first: int) -> None:
        for turn in itertools.count(first):
            _send(port, requests[turn % len(requests)])

    attackers = [threading.Thread(target=send, args=(number,)) for number in range(_ATTACKERS)]
    for attacker in attackers:
        attacker.start()
    is_ready.set()
    for attacker in attackers:
        attacker.join()


def _cost(shape: Shape, request: bytes, pid: int, port: int) -> Cost:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the high-water mark begins anew
    memory, before = memory_mib(pid, "VmRSS"), _times(pid)
    status = _send(port, request)
    after = _settled(pid)
    loop_s = after[pid] - before[pid]
    cpu_s = sum(after.values()) - sum(before.values())
    return Cost(shape, status, loop_s, cpu_s, memory_mib(pid, "VmHWM") - memory)


def _send(port: int, request: bytes) -> int:
    """Send all that is taken of a request, and read all that is answered; the status."""
    if SALT in request[:_HEAD_BYTES]:
        request = request.replace(SALT, secrets.token_hex(len(SALT) // 2).encode())
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_WITHIN_S) as connection:

        def send() -> None:
            with suppress(OSError):
                connection.sendall(request)

        sending = threading.Thread(target=send)
        sending.start()
        with suppress(OSError):
            while more := connection.recv(2**18):
                answer = answer or more[:20]
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sending.join()
    return int(answer[9:12]) if answer.startswith(b"HTTP/") else 0


def _settled(pid: int) -> dict[int, float]:
    """The times of the threads once they rest."""
    times = _times(pid)
    end = time.monotonic() + _SETTLED_WITHIN_S
    while time.monotonic() < end:
        time.sleep(_QUIET_S)
        before, times = times, _times(pid)
        if sum(times.values()) - sum(before.values()) < _QUIET_S / 5:
            break
    return times


def _times(pid: int) -> dict[int, float]:
    """Seconds of CPU of each thread; that of the event loop has the number of the process."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            times[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return times


def memory_mib(pid: int, field: str) -> float:
    """A figure of the kernel's about the memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)
