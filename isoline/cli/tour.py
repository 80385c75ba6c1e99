"""The tour: submit a real ECG over HTTP and print the findings."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from isoline.cli.ecg_tables import leads_table
from isoline.client import RefusedError, open_client
from isoline.embedded.demo_accounts import DEMO_ACCOUNTS

if TYPE_CHECKING:
    from isoline.embedded.state import EmbeddedState

_ECG: Final = Path(__file__).parents[2] / "examples" / "data" / "ptbxl_06004.json"
_WAIT_S: Final = 30
# It was ready a moment ago; if it is away now, it was stopped.
_RETRY_FOR_S: Final = 3.0
_SUBMITTER: Final = DEMO_ACCOUNTS[1]


async def show_tour(state: EmbeddedState) -> None:
    """Submit the bundled ECG; print its findings and the next command.

    If the demo account is gone or has another password, print that instead.

    Raises:
        isoline.client.IsolineError: Any other failure.
    """
    console = Console()
    async with open_client(
        state.address, user=_SUBMITTER.name, password=_SUBMITTER.password, retry_for_s=_RETRY_FOR_S
    ) as client:
        try:
            result = await client.submit_and_wait(_ECG.read_bytes(), timeout_s=_WAIT_S)
        except RefusedError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
            console.print(_without_demo(state.address), soft_wrap=True, highlight=False, markup=False)
            return
    console.print(f"ECG {result.id}: {result.status}", highlight=False)
    console.print(leads_table(result))
    console.print(_how_to_go_on(state.address, result.id), soft_wrap=True, highlight=False, markup=False)


def _without_demo(address: str) -> str:
    return (
        f"Isoline listens at {address}\n"
        f"No ECG was submitted: there is no account {_SUBMITTER.name} with the password of a fresh folder."
    )


def _how_to_go_on(address: str, ecg_id: str) -> str:
    accounts = ", ".join(f"{demo.name}/{demo.password} ({demo.role})" for demo in DEMO_ACCOUNTS)
    body = """-H 'Content-Type: application/json' -d '{"user": "demo", "password": "demo"}'"""
    login = f"""curl -s {address}/token {body} | cut -d'"' -f4"""
    return "\n".join(
        (
            f"Isoline listens at {address}",
            f"Demo accounts (name/password): {accounts}",
            "Go on with:",
            f'curl -s {address}/ecg/{ecg_id} -H "Authorization: Bearer $({login})"',
        )
    )
