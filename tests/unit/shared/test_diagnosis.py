from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from shared.diagnosis import (
    Check,
    Judge,
    Judgement,
    Verdict,
    diagnose,
    judge_backlog,
    judge_clock,
    judge_connections,
    judge_consumers,
    judge_durability,
    judge_nodes,
    judge_outbox,
    judge_processes,
    judge_server,
    judge_spool,
    judge_webhooks,
    judge_writes,
)
from shared.domain.errors import UnavailableError
from shared.ports.claim_ids import new_process_id
from shared.ports.operators.backlog import BacklogState
from shared.ports.operators.intake import IntakeState
from shared.ports.operators.processes import Presence, RunningProcess
from shared.ports.operators.webhook_counts import WebhookCounts
from shared.ports.servers import BrokerNode, DatabaseServer, QueueState

_SERVER = DatabaseServer("16.1", True, True, "on", "", 10, 100)  # noqa: FBT003 - a row, as it is read
_PAUSED = IntakeState(
    is_paused=True, who="olga", why="a disk is replaced", since=datetime(2026, 1, 31, 8, tzinfo=UTC)
)


async def well() -> Judgement:
    return Judgement(Verdict.OK, "well")


async def hanging() -> Judgement:
    await asyncio.Event().wait()
    raise AssertionError


async def refused() -> Judgement:
    raise UnavailableError("refused\nfor two reasons")


async def defective() -> Judgement:
    raise ZeroDivisionError("canary")


def a_check(name: str, judge: Judge, needs: str = "") -> Check:
    return Check(name=name, judge=judge, remedy="mend it", section="broken", needs=needs)


async def test_a_check_that_hangs_fails_or_has_a_defect_hides_no_other() -> None:
    checks = [a_check("1", hanging), a_check("2", refused), a_check("3", defective), a_check("4", well)]

    findings = await diagnose(checks, within_s=0.05)

    assert [(finding.verdict, finding.reason) for finding in findings] == [
        (Verdict.FAILED, "no answer within 0.05 s"),
        (Verdict.FAILED, "refused for two reasons"),
        (Verdict.FAILED, "the check itself failed: ZeroDivisionError"),
        (Verdict.OK, "well"),
    ]
    assert [finding.remedy for finding in findings] == ["mend it"] * 3 + [""]


async def test_what_needs_a_failed_check_is_not_made() -> None:
    checks = [
        a_check("root", refused),
        a_check("leaf", well, needs="root"),
        a_check("leaf of leaf", well, needs="leaf"),
        a_check("other", well),
    ]

    findings = await diagnose(checks, within_s=1)

    assert [(finding.verdict, finding.reason) for finding in findings[1:]] == [
        (Verdict.WARNING, "not checked: see root"),
        (Verdict.WARNING, "not checked: see leaf"),
        (Verdict.OK, "well"),
    ]


@pytest.mark.parametrize(
    ("server", "verdict", "words"),
    [
        (_SERVER, Verdict.OK, "for no standby"),
        (_SERVER._replace(synchronous_standbys="ANY 1 (*)"), Verdict.OK, "for a standby of ANY 1 (*)"),
        (
            _SERVER._replace(synchronous_standbys="*", synchronous_commit="local"),
            Verdict.OK,
            "for no standby",
        ),
        (_SERVER._replace(synchronous_commit="off"), Verdict.WARNING, "synchronous_commit is off"),
        (_SERVER._replace(is_crash_safe=False), Verdict.WARNING, "fsync or full_page_writes is off"),
    ],
)
def test_what_a_commit_survives_is_said(server: DatabaseServer, verdict: Verdict, words: str) -> None:
    judgement = judge_durability(server)

    assert judgement.verdict is verdict
    assert words in judgement.reason


def test_a_server_that_takes_no_writes_has_failed() -> None:
    assert judge_writes(_SERVER).verdict is Verdict.OK
    assert judge_writes(_SERVER._replace(takes_writes=False)).verdict is Verdict.FAILED


def test_a_server_that_is_older_than_what_was_tried_is_warned_of() -> None:
    assert judge_server(_SERVER._replace(version="15.0")).verdict is Verdict.OK
    assert judge_server(_SERVER._replace(version="14.9 (Debian 14.9-1)")).verdict is Verdict.WARNING


def test_scarce_connections_are_warned_of() -> None:
    assert judge_connections(_SERVER._replace(used_connections=90)).verdict is Verdict.OK
    assert judge_connections(_SERVER._replace(used_connections=91)).verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("database_s", "took_s", "verdict", "words"),
    [
        (100.0, 0.0, Verdict.OK, "0.0 s"),
        (110.0, 0.0, Verdict.OK, "10.0 s"),
        (111.0, 0.0, Verdict.WARNING, "11.0 s ahead of"),
        (89.0, 0.0, Verdict.WARNING, "11.0 s behind"),
        (111.0, 4.0, Verdict.OK, "9.0 s"),
        (114.0, 4.0, Verdict.OK, "12.0 s"),  # 10 s if it was read last
    ],
)
def test_a_clock_is_off_only_beyond_the_leeway_and_the_time_of_the_answer(
    database_s: float, took_s: float, verdict: Verdict, words: str
) -> None:
    judgement = judge_clock(database_s, asked_s=100.0, answered_s=100.0 + took_s, leeway_s=10.0)

    assert judgement.verdict is verdict
    assert words in judgement.reason


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [(0, Verdict.OK), (59.9, Verdict.OK), (60, Verdict.WARNING), (600, Verdict.FAILED)],
)
def test_what_waits_is_judged_by_its_age(age_s: float, verdict: Verdict) -> None:
    assert judge_backlog(BacklogState(1, age_s, 0, 0.0), IntakeState(), most_ecgs=None).verdict is verdict
    assert judge_outbox(BacklogState(0, 0.0, 1, age_s)).verdict is verdict


def test_a_backlog_at_its_limit_has_failed_however_young_it_is() -> None:
    for intake in (IntakeState(), _PAUSED):
        assert judge_backlog(BacklogState(99, 1.0, 0, 0.0), intake, most_ecgs=100).verdict is Verdict.OK
        assert judge_backlog(BacklogState(100, 1.0, 0, 0.0), intake, most_ecgs=100).verdict is Verdict.FAILED


def test_a_pause_is_no_failure_and_says_who_paused_and_why() -> None:
    old = judge_backlog(BacklogState(1, 1e4, 0, 0.0), _PAUSED, most_ecgs=None)
    alone = judge_consumers(QueueState(3, 0), _PAUSED)

    for verdict, reason in (old, alone):
        assert verdict is Verdict.WARNING
        assert "paused since 2026-01-31 08:00:00 by olga: a disk is replaced" in reason
    assert judge_consumers(QueueState(3, 0), IntakeState()).verdict is Verdict.FAILED
    assert judge_consumers(QueueState(3, 2), IntakeState()).verdict is Verdict.OK


def test_webhooks_are_well_unless_one_fails_or_was_switched_off() -> None:
    assert judge_webhooks(None).verdict is Verdict.OK
    assert judge_webhooks(WebhookCounts(2, 0, 1, 0)) == (
        Verdict.OK,
        "2 webhooks are sent events, 1 are paused by their owners",
    )
    for counts in (WebhookCounts(0, 1, 0, 0, "answered 500"), WebhookCounts(0, 0, 0, 1, "answered 500")):
        verdict, reason = judge_webhooks(counts)
        assert verdict is Verdict.WARNING
        assert "answered 500" in reason


def test_rabbitmq_is_as_well_as_its_nodes() -> None:
    good, bad = BrokerNode("a:5672", version="3.10.8"), BrokerNode("b:5672", refusal="no answer within 3 s")

    assert judge_nodes([good]).verdict is Verdict.OK
    assert judge_nodes([bad]).verdict is Verdict.FAILED
    assert judge_nodes([bad, good]) == Judgement(
        Verdict.WARNING, "RabbitMQ answers at a:5672 (3.10.8), and not at b:5672: no answer within 3 s"
    )
    assert judge_nodes([good._replace(version="3.9.29")]).verdict is Verdict.WARNING


def test_a_disk_with_less_room_than_may_be_spooled_is_warned_of() -> None:
    assert judge_spool(free_bytes=10, most_bytes=10).verdict is Verdict.OK
    assert judge_spool(free_bytes=9, most_bytes=10).verdict is Verdict.WARNING


def a_process(
    worker: int, *, seen_s: float, started_s: float = 0.0, ended_at: datetime | None = None
) -> RunningProcess:
    presence = Presence(new_process_id(), "processor", worker, "host-1", "0.2.0", pid=4711)
    seen_at = datetime(2026, 1, 31, 18, 3, 45, tzinfo=UTC)
    return RunningProcess(presence, datetime.fromtimestamp(started_s, UTC), seen_at, seen_s, ended_at)


def test_a_process_that_was_started_again_is_not_missed_and_one_of_two_is() -> None:
    killed = [a_process(1, seen_s=60.0), a_process(1, seen_s=60.0)]
    again = [a_process(1, seen_s=1.0, started_s=5.0), a_process(1, seen_s=1.0, started_s=6.0)]

    assert judge_processes([*killed, *again]).verdict is Verdict.OK
    assert judge_processes([*killed, *again[:1]]).reason.count("processor/1 on host-1") == 1
    assert judge_processes([*killed, a_process(2, seen_s=1.0, started_s=5.0)]).reason.count("host-1") == 2


def test_a_process_that_says_nothing_is_named_and_one_that_has_left_is_not() -> None:
    there, silent = a_process(1, seen_s=8.0), a_process(2, seen_s=10.0)
    left = a_process(3, seen_s=100.0, ended_at=datetime.now(UTC))

    assert judge_processes([there, left]).verdict is Verdict.OK
    verdict, reason = judge_processes([there, silent, left])
    assert verdict is Verdict.WARNING
    assert reason == (
        "frozen, killed or cut off: processor/2 on host-1, pid 4711, last heard of at 18:03:45; "
        "1 others are there"
    )
