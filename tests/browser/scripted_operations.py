"""A scripted operations API: it answers a page's requests with documents that a test chooses."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from shared.domain.account import Role
from tests.http.conftest import TOKENS

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

Json = dict[str, Any]


def before(**ago: float) -> str:
    """A time so long ago, as the API writes it."""
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def an_overview(**changes: Any) -> Json:
    """An overview of an installation that does well."""
    window = {
        "seconds": 90.0,
        "completed": 5400,
        "failed": 0,
        "per_second": 60.0,
        "p50_s": 0.08,
        "p95_s": 0.4,
    }
    minutes = [
        {
            "at": before(minutes=59 - minute),
            "completed": 2400 + 400 * (minute % 7),
            "failed": 90 * (minute % 11 == 3),
        }
        for minute in range(60)
    ]
    return {
        "at": before(),
        "backlog": {"queued_ecgs": 0, "oldest_ecg_s": 0.0, "unpublished_batches": 0, "oldest_batch_s": 0.0},
        "throughput": {
            "now": window,
            "hour": {**window, "seconds": 3570.0, "completed": 200_000, "failed": 500, "per_second": 56.0},
            "minutes": minutes,
        },
        "intake": {"state": "running", "who": "", "why": "", "since": None},
        "processes": {"gateway": {"working": 2}, "processor": {"working": 3}},
        "failed_ecgs": 500,
        "dead_letters": {"waiting": 0, "reason": ""},
        "health": {
            "status": "ready",
            "parts": {
                "schema": {"state": "ok", "since": before(hours=5)},
                "broker": {"state": "ok", "since": before(hours=5)},
            },
        },
        **changes,
    }


def a_process(**changes: Any) -> Json:
    """A processor."""
    return {
        "service": "processor",
        "worker": 1,
        "host": "isoline-processor-7d9f",
        "version": "0.2.0",
        "since": before(hours=5),
        "seen_s": 1.4,
        "state": "working",
        "held_ecgs": 64,
        **changes,
    }


def a_failed_ecg(number: int, **changes: Any) -> Json:
    """An ECG that has failed."""
    return {
        "owner": "ada",
        "id": f"{number}",
        "status": "failed",
        "generation": 1,
        "attempts": 5,
        "reason": "Given up after 5 attempts.",
        "submitted_at": before(minutes=number + 1),
        "finished_at": before(minutes=number),
        **changes,
    }


class ScriptedOperations:
    """Documents of the API by their paths, which a test changes, and what a page has sent."""

    def __init__(self) -> None:
        self.overview = an_overview()
        self.documents: dict[str, Json] = {
            "processes": {"processes": [a_process()]},
            "failures": {"groups": [], "as_of": before()},
            "ecgs": {"ecgs": [], "as_of": before()},
            "dead-letters": {"dead_letters": []},
            "outbox": {"unpublished_batches": 0, "oldest_batch_s": 0.0, "batches": []},
            "audit": {"records": []},
        }
        self.problems: dict[str, tuple[int, str]] = {}
        self.roles = [Role.OPERATOR]
        self.is_away = False
        self.token_lifetime_s = 900
        self.logins: list[str] = []
        self.asked: list[tuple[str, Json]] = []
        self.sent: list[tuple[str, Json]] = []

    async def serve(self, page: Page) -> None:
        """Answer the requests of this page."""
        await page.route("**/ops/api/**", self._answer)
        await page.route("**/token", self._sign_in)
        await page.route("**/token/refresh", self._sign_in)
        await page.route("**/token/revoke", lambda route: route.fulfill(status=204))

    async def _sign_in(self, route: Route) -> None:
        self.logins.append(json.loads(route.request.post_data or "{}").get("refresh_token", ""))
        await route.fulfill(
            json={
                "access_token": TOKENS.issue("olga", self.roles, now=datetime.now(UTC)),
                "refresh_token": f"refresh token {len(self.logins)}",
                "token_type": "Bearer",
                "expires_in": self.token_lifetime_s,
            }
        )

    async def _answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        path = url.path.partition("/ops/api/")[2]
        if self.is_away:
            await route.abort("connectionrefused")
        elif path in self.problems:
            status, detail = self.problems[path]
            await route.fulfill(status=status, json={"status": status, "detail": detail})
        elif path == "stream":
            event = f"event: overview\ndata: {json.dumps({**self.overview, 'at': before()})}\n\n"
            await route.fulfill(status=200, content_type="text/event-stream", body=event)
        elif route.request.method == "GET":
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self.asked.append((path, query))
            await route.fulfill(json=copy.deepcopy(self.documents[path]))
        else:
            self.sent.append((path, json.loads(route.request.post_data or "{}")))
            await route.fulfill(json=self.documents[path])
