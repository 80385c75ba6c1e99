"""Ids of claims name the process that made them, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from shared.ports.claim_ids import ClaimIds, new_process_id, origin_of_claim


def test_each_claim_has_an_id_of_its_own_from_which_its_process_and_time_are_read() -> None:
    process_id = new_process_id()
    claim_ids = ClaimIds(process_id)

    ids = [claim_ids.next() for _ in range(1000)]

    assert len(set(ids)) == 1000
    origins = [origin for claim_id in ids if (origin := origin_of_claim(claim_id)) is not None]
    assert {origin.process_id for origin in origins} == {process_id}
    # Of a thousand at once the last is put a second late at most.
    assert abs(origins[-1].began_at - datetime.now(UTC)) < timedelta(seconds=10)


def test_two_processes_never_give_the_same() -> None:
    first, second = new_process_id(), new_process_id()

    assert first != second
    assert ClaimIds(first).next() != ClaimIds(second).next()


def test_the_claim_of_an_earlier_release_names_no_process() -> None:
    assert origin_of_claim(uuid4()) is None
