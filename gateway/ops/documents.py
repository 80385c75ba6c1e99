"""JSON documents of the operations API, made of what the use cases return."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.operations.overview import Overview
    from shared.ports.operators.dead_letters import DeadLetter
    from shared.ports.operators.intake import IntakeState
    from shared.ports.operators.processes import RunningProcess
    from shared.ports.operators.throughput import RecentThroughput, SettledCounts

Document = dict[str, object]


def overview_document(overview: Overview) -> Document:
    """The overview, without the health of a gateway."""
    return {
        "backlog": overview.backlog._asdict(),
        "throughput": _throughput_document(overview.throughput),
        "intake": intake_document(overview.intake),
        "processes": {
            service: {state.value: count for state, count in counts.items()}
            for service, counts in overview.processes.items()
        },
        "failed_ecgs": overview.failed_ecgs,
        "dead_letters": overview.dead_letters._asdict(),
    }


def intake_document(intake: IntakeState) -> Document:
    """Whether the processors take ECGs, and who said so."""
    return {
        "state": "paused" if intake.is_paused else "running",
        "who": intake.who,
        "why": intake.why,
        "since": intake.since,
    }


def process_document(process: RunningProcess) -> Document:
    """A process."""
    presence = process.presence
    return {
        "service": presence.service,
        "worker": presence.worker,
        "host": presence.host,
        "pid": presence.pid,
        "version": presence.release,
        "since": process.started_at,
        "seen_s": process.seen_s,
        "state": process.state,
        "held_ecgs": presence.held_ecgs,
    }


def letter_document(letter: DeadLetter) -> Document:
    """A dead letter, without what it says."""
    return {"name": letter.name, "reason": letter.reason, "bytes": len(letter.body)}


def _throughput_document(throughput: RecentThroughput) -> Document:
    return {
        "now": _window_document(throughput.now, throughput.now_s),
        "hour": _window_document(throughput.hour, throughput.hour_s),
        "minutes": [minute._asdict() for minute in throughput.minutes],
    }


def _window_document(counts: SettledCounts, seconds: float) -> Document:
    return {
        "seconds": seconds,
        "completed": counts.completed,
        "failed": counts.failed,
        "per_second": (counts.completed + counts.failed) / seconds,
        "p50_s": counts.latency_s(0.5),
        "p95_s": counts.latency_s(0.95),
    }
