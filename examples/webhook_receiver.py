"""Receive webhooks: verify each, and keep the newest result of each ECG in SQLite, each event once.

``pip install aiohttp standardwebhooks``, then
``WEBHOOK_SECRET=whsec_... python examples/webhook_receiver.py results.sqlite 9000``
"""

import json
import os
import sqlite3
import sys
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_TABLES = """
CREATE TABLE IF NOT EXISTS inbox (event TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS result
    (owner TEXT, ecg TEXT, generation INT NOT NULL, leads TEXT, PRIMARY KEY (owner, ecg));
"""
# No order is promised: an erased ECG is kept without leads, so that a late result does not bring it back.
_KEEP = """
INSERT INTO result VALUES (?, ?, ?, ?)
ON CONFLICT (owner, ecg) DO UPDATE SET generation = excluded.generation, leads = excluded.leads
WHERE result.generation < excluded.generation
   OR (result.generation = excluded.generation AND excluded.leads IS NULL)
"""
_MOST_BYTES = 16 * 2**20


def keep(database: sqlite3.Connection, event_id: str, event: dict[str, Any]) -> None:
    with database:  # one transaction: an event is in the inbox if and only if what it says is kept
        if database.execute("INSERT OR IGNORE INTO inbox VALUES (?)", (event_id,)).rowcount == 0:
            return  # it came again
        if event["type"] in {
            "ecg.processed",
            "ecg.deleted",
        }:  # a test event says nothing
            data = event["data"]
            leads = json.dumps(data["leads"]) if event["type"] == "ecg.processed" else None
            database.execute(_KEEP, (data["owner"], data["id"], data["generation"], leads))


def app(secret: str, database: sqlite3.Connection) -> web.Application:
    async def receive(request: web.Request) -> web.Response:
        body = await request.read()  # as it came: the signature is of these bytes
        try:
            event = Webhook(secret).verify(body, dict(request.headers))
        except (WebhookVerificationError, ValueError):
            return web.Response(status=401)
        keep(database, request.headers["webhook-id"], event)  # if it raises, 500, and the event comes again
        return web.Response(status=204)

    application = web.Application(client_max_size=_MOST_BYTES)
    application.router.add_post("/", receive)
    return application


def main(file: str, port: str) -> None:
    database = sqlite3.connect(file)
    database.executescript(_TABLES)
    web.run_app(app(os.environ["WEBHOOK_SECRET"], database), host="127.0.0.1", port=int(port))


main(*sys.argv[1:])
