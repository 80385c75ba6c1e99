"""Rules that statements and the database itself hold, whatever a caller does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from shared.events import EcgKey, processed_event
from shared.ports.ecgs import Settlement
from tests.support.builders import SOURCE, a_submission

if TYPE_CHECKING:
    from shared.ports.ecgs import Claim
    from shared.storage.pool.database import Database
    from shared.storage.postgres.ecgs import PostgresEcgStore

_KEY = EcgKey("ada", "10")


async def a_claim(store: PostgresEcgStore) -> Claim:
    await store.add([a_submission()])
    [claim] = (await store.claim([_KEY], claim_id=uuid4())).claimed
    return claim


def a_settlement(claim: Claim, value: int = 2) -> Settlement:
    document = {"leads": [{"I": {"zero_crossings": value}}]}
    event = processed_event(claim.key, document, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    return Settlement(claim, event, document=document)  # type: ignore[arg-type]


async def test_a_zombies_result_changes_nothing(database: Database, store: PostgresEcgStore) -> None:
    claim = await a_claim(store)

    first, second = a_settlement(claim, 2), a_settlement(claim, 3)
    batches = [await store.settle([settlement]) for settlement in (first, second)]

    assert [batch.events for batch in batches] == [[first.event], []]
    async with database.connection() as connection:
        assert (
            await connection.fetchval("SELECT document->'leads'->0->'I'->>'zero_crossings' FROM ecg_insights")
            == "2"
        )
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 1


async def test_a_claim_that_is_asked_for_again_counts_once(store: PostgresEcgStore) -> None:
    await store.add([a_submission()])
    claim_id = uuid4()

    attempts = [(await store.claim([_KEY], claim_id=claim_id)).claimed[0].attempt for _ in range(7)]

    assert attempts == [1] * 7


async def test_ecgs_that_were_tried_before_are_claimed_only_on_request(store: PostgresEcgStore) -> None:
    await a_claim(store)

    together = await store.claim([_KEY], claim_id=uuid4())
    alone = await store.claim([_KEY], claim_id=uuid4(), tried_before=True)

    assert (together.claimed, together.tried_before) == ([], [_KEY])
    assert [claim.attempt for claim in alone.claimed] == [2]


@pytest.mark.parametrize(
    "update",
    [
        "status = 'queued', due_at = now(), finished_at = NULL",
        "status = 'failed', error = 'no'",
        "finished_at = now() + interval '1 hour'",
        "generation = generation + 1",
        "generation = generation + 2, status = 'queued', due_at = now(), finished_at = NULL",
        "generation = generation - 1, status = 'queued', due_at = now(), finished_at = NULL",
    ],
)
async def test_the_database_refuses_to_undo_or_repeat_a_terminal_transition(
    database: Database, store: PostgresEcgStore, update: str
) -> None:
    await store.settle([a_settlement(await a_claim(store))])

    async with database.connection() as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute(f"UPDATE ecg SET {update}")  # noqa: S608 - the test's own words


async def test_the_database_refuses_a_next_generation_of_what_is_queued(
    database: Database, store: PostgresEcgStore
) -> None:
    await store.add([a_submission()])

    async with database.connection() as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute("UPDATE ecg SET generation = generation + 1")


async def test_deleting_an_ecg_row_deletes_its_signals_and_insights(
    database: Database, store: PostgresEcgStore
) -> None:
    claim = await a_claim(store)
    await store.settle([a_settlement(claim)])
    [other] = await store.add([a_submission("11")])

    async with database.connection() as connection:
        await connection.execute("DELETE FROM ecg WHERE row = $1", claim.row)

        left = await connection.fetch("SELECT id FROM ecg_signal LEFT JOIN ecg USING (row)")
        insights = await connection.fetchval("SELECT count(*) FROM ecg_insights")
    assert [row["id"] for row in left] == [other.key.id]
    assert insights == 0


async def test_counting_what_is_queued_stops_at_the_limit(store: PostgresEcgStore) -> None:
    for number in range(5):
        await store.add([a_submission(str(number))])

    assert [await store.count_queued(limit) for limit in (3, 100)] == [3, 5]
