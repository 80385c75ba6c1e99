"""The main job, shown once: a real ECG in over HTTP, its zero crossings out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from rich.console import Console
from rich.table import Table

from isoline.embedded import DEMO_ACCOUNTS
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from isoline.embedded_state import EmbeddedState

_ECG: Final = Path(__file__).parents[1] / "examples" / "data" / "ptbxl_06004.json"
_WAIT_S: Final = 30
_SUBMITTER: Final = DEMO_ACCOUNTS[1]


async def show_tour(state: EmbeddedState) -> None:
    """Submit the bundled ECG, print what was found in it and how to go on.

    Raises:
        ConfigurationError: The gateway answered otherwise than it should.
    """
    body = _ECG.read_bytes()
    ecg_id = orjson.loads(body)["id"]
    async with aiohttp.ClientSession(state.address, raise_for_status=_raise_for_status) as session:
        credentials = {"user": _SUBMITTER.name, "password": _SUBMITTER.password}
        token = (await _json(session, "POST", "/token", json=credentials))["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        headers = {"Content-Type": "application/json"}
        await _json(session, "POST", "/ecg/process", data=body, headers=headers)
        answer = await _json(session, "GET", f"/ecg/{ecg_id}", params={"wait": str(_WAIT_S)})
    console = Console()
    console.print(f"ECG {ecg_id}: {answer['status']}", highlight=False)
    console.print(_table(answer))
    console.print(_how_to_go_on(state.address, ecg_id), soft_wrap=True, highlight=False, markup=False)


async def _json(session: aiohttp.ClientSession, method: str, path: str, **options: Any) -> dict[str, Any]:
    async with session.request(method, path, **options) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if not response.ok:
        raise ConfigurationError(
            f"{response.method} {response.url}: {response.status} {await response.text()}"
        )


def _table(answer: dict[str, Any]) -> Table:
    table = Table("lead", "zero crossings")
    for lead in answer.get("leads", []):
        for name, findings in lead.items():
            table.add_row(name, str(findings["zero_crossings"]))
    return table


def _how_to_go_on(address: str, ecg_id: str) -> str:
    accounts = ", ".join(f"{demo.name}/{demo.password} ({demo.role})" for demo in DEMO_ACCOUNTS)
    login = f"""curl -s {address}/token --json '{{"user": "demo", "password": "demo"}}' | cut -d'"' -f4"""
    return "\n".join(
        (
            f"Isoline listens at {address}",
            f"Demo accounts (name/password): {accounts}",
            "Go on with:",
            f'curl -s {address}/ecg/{ecg_id} -H "Authorization: Bearer $({login})"',
        )
    )
