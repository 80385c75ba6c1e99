"""How PostgreSQL runs each hot query when its tables are large.

``python -m tests.programs.benchmarks plans``
"""

from __future__ import annotations

from typing import Final

from tests.programs.benchmarks.at_scale import filling
from tests.programs.benchmarks.pipelines import OWNER, open_isoline
from tests.programs.benchmarks.report import print_line
from tests.programs.benchmarks.servers import open_servers
from tests.support.plans import DUE_EVENT_BATCHES, explain_hot_queries, open_explaining_database

_FINISHED: Final = 1_000_000
_QUEUED: Final = 100_000
_MAX_BACKLOG: Final = 100_000
_WITHIN_S: Final = 60.0

_BYTES: Final = """
SELECT sum(pg_total_relation_size(relid)) / (SELECT count(*) FROM ecg)
FROM unnest('{ecg,ecg_signal,ecg_insights}'::text[]) AS name,
    LATERAL (SELECT name::regclass AS relid UNION SELECT relid FROM pg_partition_tree(name::regclass)) AS tree
"""
_DUE: Final = "UPDATE ecg SET due_at = now() - interval '1 second' WHERE id LIKE 'queued-_____'"
_ERASED: Final = f"""
INSERT INTO ecg (owner, id, content_hash, num_samples, status, finished_at)
SELECT '{OWNER}', 'erased-' || n, '', 0, 'erased', now() FROM generate_series(1, 64) AS n
"""  # noqa: S608 - ours
_EVENTS: Final = DUE_EVENT_BATCHES.format(count=50_000)


async def show_plans() -> int:
    """Print the plan of each hot query; the exit status."""
    async with open_servers() as servers:
        async with open_isoline(servers) as isoline:
            await filling.plant(isoline)
        print_line(
            f"{_FINISHED:,} finished ECGs of 1,000 owners, {_QUEUED:,} that are queued, 100,000 events"
        )
        await filling.fill_finished(isoline, 1, _FINISHED, owners=1000)
        await filling.fill_queued(isoline, 1, _QUEUED)
        size = await isoline.query(_BYTES)
        print_line(f"{size:,.0f} bytes on disk for each, of 3 samples, in all tables and indexes")
        for statement in (_DUE, _ERASED, _EVENTS, "VACUUM ANALYZE"):
            await isoline.query(statement, timeout_s=_WITHIN_S)
        async with open_explaining_database(servers.database_url, timeout_s=_WITHIN_S) as database:
            for plan in await explain_hot_queries(database, owner=OWNER, max_backlog=_MAX_BACKLOG):
                print_line(f"\n### {plan.title}\n\n```\n{plan.explained}\n```")
    return 0
