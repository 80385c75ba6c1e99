"""The command line against a running Isoline, as people and scripts use it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import ROOT
from tests.http.conftest import PASSWORD
from tests.support.builders import an_ecg_body

_WITHIN_S: Final = 60.0


class CommandLine:
    """``isoline ...`` as ada, against one gateway."""

    def __init__(self, address: str) -> None:
        self._environment = {
            "ISOLINE_URL": address,
            "ISOLINE_USER": "ada",
            "ISOLINE_PASSWORD": PASSWORD,
            "COLUMNS": "200",
            "PYTHONPATH": str(ROOT),
        }

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "isoline", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | self._environment,
        )
        async with asyncio.timeout(_WITHIN_S):
            printed, complained = await process.communicate()
        assert process.returncode is not None
        return process.returncode, printed.decode(), complained.decode()

    async def first_line(self, *arguments: str) -> str:
        """The first line that a command prints which then goes on, and is ended."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "isoline", *arguments),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | self._environment,
        )
        assert process.stdout is not None
        try:
            return (await process.stdout.readline()).decode()
        finally:
            process.terminate()
            await process.wait()


@pytest.fixture
def isoline(gateway: str, processor: None) -> CommandLine:  # noqa: ARG001 - something must analyse
    return CommandLine(gateway)


def a_file(folder: Path, name: str, content: object) -> str:
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


async def test_files_are_submitted_waited_for_listed_and_erased(isoline: CommandLine, tmp_path: Path) -> None:
    files = [a_file(tmp_path, f"{n}.json", an_ecg_body(id=f"ecg-{n}")) for n in range(3)]

    status, printed, _ = await isoline.run("submit", *files, "--wait")
    assert status == 0
    assert [f"ecg-{n}" in printed for n in range(3)] == [True] * 3
    assert "completed" in printed

    _, printed, _ = await isoline.run("list", "--format", "json")
    assert {json.loads(line)["id"] for line in printed.splitlines()} == {"ecg-0", "ecg-1", "ecg-2"}

    assert (await isoline.run("delete", "ecg-1"))[:2] == (0, "ECG ecg-1 is erased.\n")
    assert (await isoline.run("delete", "ecg-1"))[0] == 1
    status, _, complained = await isoline.run("get", "ecg-1")
    assert (status, complained) == (1, "404: You have no ECG of this id.\n")


@pytest.mark.parametrize("url", ["localhost:8080", "http://localhost:tcp://10.0.0.1:80", "http://a:secret@b"])
async def test_an_invalid_url_is_one_sentence(url: str) -> None:
    status, printed, complained = await CommandLine(url).run("list")

    assert (status, printed) == (2, "")
    assert complained.startswith("The URL of the gateway ")
    assert complained.count("\n") == 1
    assert "secret" not in complained


@pytest.mark.parametrize("format_", ["table", "json"])
async def test_a_file_with_an_undecodable_name_is_submitted(
    isoline: CommandLine, tmp_path: Path, format_: str
) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.json")
    Path(file).write_text(json.dumps(an_ecg_body(id="10")))

    status, printed, complained = await isoline.run("submit", file, f"{file}x", "--format", format_)

    assert status == 1
    assert "queued" in printed
    assert "No such file or directory" in printed + complained
    assert "Traceback" not in complained


async def test_json_is_one_line_for_each_ecg(isoline: CommandLine, tmp_path: Path) -> None:
    file = a_file(tmp_path, "10.json", an_ecg_body(id="10"))

    submitted = await isoline.run("submit", file, "--wait", "--format", "json")
    got = await isoline.run("get", "10", "--format", "json")

    assert json.loads(submitted[1]) == {"file": file, **json.loads(got[1])}
    assert json.loads(got[1])["leads"] == [{"I": {"zero_crossings": 2}}]


async def test_one_bad_file_fails_the_command_and_not_the_others(
    isoline: CommandLine, tmp_path: Path
) -> None:
    good = a_file(tmp_path, "good.json", an_ecg_body(id="good"))
    bad = a_file(tmp_path, "bad.json", an_ecg_body(id="bad", leads=[]))
    none = str(tmp_path / "none.json")

    status, printed, complained = await isoline.run("submit", good, bad, none, "--wait")

    assert status == 1
    assert "good" in printed
    assert "bad" not in printed
    assert "expected 1 or more, found 0" in complained
    assert "No such file or directory" in complained


async def test_the_contract_is_exported(isoline: CommandLine, tmp_path: Path) -> None:
    status, printed, _ = await isoline.run("openapi", "export")
    await isoline.run("openapi", "export", str(tmp_path / "openapi.json"))

    assert status == 0
    assert json.loads(printed)["openapi"] == "3.1.0"
    assert (tmp_path / "openapi.json").read_text() == printed


async def test_events_are_listed_on_from_a_cursor_and_followed(isoline: CommandLine, tmp_path: Path) -> None:
    await isoline.run("submit", "--wait", a_file(tmp_path, "1", an_ecg_body(id="1")))
    _, printed, cursor = await isoline.run("events", "list")
    await isoline.run("submit", "--wait", a_file(tmp_path, "2", an_ecg_body(id="2")))
    await isoline.run("delete", "1")
    _, after, _ = await isoline.run("events", "list", "--after", cursor.strip(), "--type", "ecg.deleted")
    status, _, complained = await isoline.run("events", "list", "--after", "x")
    async with asyncio.timeout(_WITHIN_S):
        followed = await isoline.first_line("events", "tail", "--after", cursor.strip())

    assert [json.loads(line)["subject"] for line in printed.splitlines()] == ["ada/1"]
    assert [json.loads(line)["type"] for line in after.splitlines()] == ["ecg.deleted"]
    assert status == 1
    assert "after: expected a cursor" in complained
    assert json.loads(followed)["subject"] == "ada/2"
