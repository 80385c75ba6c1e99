"""Commands and snippets of the documents work unchanged, against an embedded Isoline of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.e2e.test_embedded import Embedded
from tests.support.servers.folders import server_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ROOT: Final = Path(__file__).parents[2]
_README: Final = (_ROOT / "README.md").read_text()
_HTTP: Final = (_ROOT / "docs/http.md").read_text()
_OPERATIONS_API: Final = (
    (_ROOT / "docs/operations.md").read_text().split("\n## Operations API\n")[1].split("\n## ")[0]
)
_CLIENTS: Final = (_ROOT / "docs/clients.md").read_text()
_CONSOLE: Final = re.compile(r"```console\n(.*?)```", re.DOTALL)
_MAKE_RUN: Final = "$ make run\n"
_SNIPPETS: Final = re.findall(r"```python\n(.*?)```", _CLIENTS, re.DOTALL)
_COMMANDS: Final = re.findall(r"```sh\n(isoline submit.*?)```", _CLIENTS, re.DOTALL)
_WITHIN_S: Final = 60


class Started(NamedTuple):
    """An embedded Isoline that runs, and what its start printed."""

    embedded: Embedded
    printed: str


@pytest.fixture(scope="module")
async def started() -> AsyncIterator[Started]:
    with server_folder() as folder:
        embedded = Embedded(folder / "var")
        status, printed = await embedded.isoline("up")
        assert status == 0, printed
        yield Started(embedded, printed)
        await embedded.isoline("down")


@pytest.fixture
def embedded(started: Started) -> Embedded:
    return started.embedded


def test_the_first_result_is_what_make_run_prints(started: Started) -> None:
    [shown] = [block for block in _CONSOLE.findall(_README) if block.startswith(_MAKE_RUN)]
    expected = shown.removeprefix(_MAKE_RUN).replace("http://127.0.0.1:8080", started.embedded.address)

    # A line of three dots stands for any lines.
    pattern = re.escape(expected).replace(re.escape("...\n"), "(?:.*\n)*")

    assert re.fullmatch(pattern, started.printed)


@pytest.mark.parametrize(
    "document", [_README, _HTTP, _OPERATIONS_API], ids=["README.md", "docs/http.md", "docs/operations.md"]
)
def test_a_tour_prints_what_it_shows(embedded: Embedded, document: str) -> None:
    blocks = [block for block in _CONSOLE.findall(document) if not block.startswith(_MAKE_RUN)]
    lines = "".join(blocks).replace("localhost:8080", embedded.address).splitlines()
    commands = [line.removeprefix("$ ") + " && echo" * ("$(" not in line) for line in lines if line[0] == "$"]
    program = "\n".join(commands).replace(".venv/bin/isoline", "isoline")

    printed = _output("bash", "-euc", program, ISOLINE_URL=embedded.address)

    shown = [line for line in lines if line[0] != "$"]
    assert shown
    assert [_at_any_time(line) for line in printed.splitlines() if line] == list(map(_at_any_time, shown))


def test_the_commands_work_as_they_stand(embedded: Embedded) -> None:
    [commands] = _COMMANDS

    printed = _output("bash", "-euc", commands, ISOLINE_URL=embedded.address)

    assert '"status":"completed"' in printed.replace(" ", "")


def test_the_tour_needs_no_curl_of_today() -> None:
    # Debian 11 has 7.74; --json came with 7.82, --fail-with-body with 7.76.
    assert "--json" not in _README + _HTTP
    assert "--fail-with-body" not in _README + _HTTP


@pytest.mark.parametrize("snippet", _SNIPPETS)
def test_a_python_snippet_runs_as_it_stands_and_prints_what_its_comments_say(
    embedded: Embedded, snippet: str, tmp_path: Path
) -> None:
    program = tmp_path / "snippet.py"
    program.write_text(snippet.replace("http://127.0.0.1:8080", embedded.address))

    printed = _output(sys.executable, str(program))

    assert printed.splitlines() == re.findall(r"print\(.*\)  # (.*)", snippet)


def _at_any_time(line: str) -> str:
    return re.sub(r'"[0-9-]{10}T[0-9:.]+\+00:00"', '"then"', line)


def _output(*command: str, **settings: str) -> str:
    program = shutil.which(command[0])
    assert program, f"{command[0]} is needed"
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "PYTHONPATH": str(_ROOT), **settings}
    done = subprocess.run(  # noqa: S603 - what the README tells readers to run
        [program, *command[1:]],
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        env=environment,
        check=False,
        cwd=_ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
