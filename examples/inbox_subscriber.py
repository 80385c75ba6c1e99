"""Keep the newest result of each ECG in PostgreSQL, each event once, by the library ``isoline.subscriber``.

``python examples/inbox_subscriber.py amqp://guest:guest@localhost/ postgresql://localhost/billing``
"""

import asyncio
import json
import os
import sys

import asyncpg

from isoline.subscriber import PostgresInbox, subscribe

_TABLE = """
CREATE TABLE IF NOT EXISTS result
    (owner text, ecg text, generation int NOT NULL, leads jsonb, PRIMARY KEY (owner, ecg))
"""
# No order is promised: an erased ECG is kept without leads, so that a late result does not bring it back.
_KEEP = """
INSERT INTO result AS kept VALUES ($1, $2, $3, $4)
ON CONFLICT (owner, ecg) DO UPDATE SET generation = excluded.generation, leads = excluded.leads
WHERE kept.generation < excluded.generation
   OR (kept.generation = excluded.generation AND excluded.leads IS NULL)
"""


async def main(amqp_url: str, database_url: str) -> None:
    inbox = PostgresInbox()
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        await inbox.create(pool)
        await pool.execute(_TABLE)
        async for event in subscribe(
            amqp_url,
            service="example.inbox",
            types=["ecg.processed", "ecg.deleted"],
            namespace=os.environ.get("ISOLINE_AMQP_NAMESPACE", ""),
        ):
            leads = json.dumps(event.data["leads"]) if event.type == "ecg.processed" else None
            ecg = event.data["owner"], event.data["id"], event.data["generation"]
            async with pool.acquire() as connection, connection.transaction():
                if await inbox.add(event, connection):  # else it came again
                    await connection.execute(_KEEP, *ecg, leads)


asyncio.run(main(*sys.argv[1:]))
