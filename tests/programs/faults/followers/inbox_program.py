"""A subscriber that keeps each event once, by the library and its inbox; it may be killed at any time.

``python -m tests.programs.faults.followers.inbox_program`` with ``SUBSCRIBER_AMQP_URL`` and
``SUBSCRIBER_DATABASE_URL``, the latter a database of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Final

import asyncpg

from isoline.subscriber import PostgresInbox, subscribe

SERVICE: Final = "faults-inbox"
_TYPES: Final = ("ecg.processed", "ecg.failed", "ecg.deleted")
# No constraint hides what is handled twice.
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS handled
    (number bigserial, id text, type text, source text, data text, is_repeated boolean)
"""
_ADD: Final = """
INSERT INTO handled (id, type, source, data, is_repeated) VALUES ($1, $2, $3, $4, $5)
"""
# Some milliseconds, inside the transaction and before the acknowledgement: so it is killed there.
_WORK_S: Final = 0.006


async def main(amqp_url: str, database_url: str) -> None:
    """Subscribe, and add each event to the table in the transaction of the inbox."""
    inbox = PostgresInbox()
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        await inbox.create(pool)
        await pool.execute(_TABLES)
        async for event in subscribe(amqp_url, service=SERVICE, types=_TYPES):
            async with pool.acquire() as connection, connection.transaction():
                is_new = await inbox.add(event, connection)
                body = json.dumps(event.data)
                await connection.execute(_ADD, str(event.id), event.type, event.source, body, not is_new)
                await _work()
            await _work()


async def _work() -> None:
    await asyncio.sleep(random.uniform(0, _WORK_S))  # noqa: S311 - no secret


if __name__ == "__main__":
    asyncio.run(main(os.environ["SUBSCRIBER_AMQP_URL"], os.environ["SUBSCRIBER_DATABASE_URL"]))
