"""The commands and programs of docs/typed-clients.md: clients that generators make of the contract."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from argon2 import PasswordHasher

from shared.domain.account import Account, Role
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.support.builders import a_binary_ecg, an_ecg_body

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_ROOT: Final = Path(__file__).parents[2]
_PAGE: Final = (_ROOT / "docs/typed-clients.md").read_text()
_ADDRESS: Final = "http://127.0.0.1:8080"
_WITHIN_S: Final = 120.0
# Packages come by the locks of this project.
_COMMANDS: Final = [
    line
    for block in re.findall(r"```sh\n(.*?)```", _PAGE, re.DOTALL)
    for line in block.splitlines()
    if not line.startswith(("npm install", "pip install"))
]
_PROGRAMS: Final = dict(re.findall(r"```(?:ts|js|python)\n(?://|#) (\S+)\n(.*?)```", _PAGE, re.DOTALL))
_PRINTED: Final = {
    name: "".join(
        f"{line}\n" for line in re.findall(r"(?:console\.log|print)\(.*\);?  ?(?://|#) (.*)", program)
    )
    for name, program in _PROGRAMS.items()
}
# Each is wrong in one place of a program, and in no other way.
_WRONG_TYPESCRIPT: Final = {
    "a_sample_that_is_a_text": ("signal: [1, -1, 1]", 'signal: ["1"]'),
    "no_date": ('date: "2023-07-30", ', ""),
    "a_null_that_is_none": ('date: "2023-07-30"', "date: null"),
    "leads_that_may_be_absent": ("leads?.[0]", "leads[0]"),
    "another_status": ("result.data.status", 'result.data.status === "finished"'),
    "another_path": ('GET("/ecg/{id}"', 'GET("/ecgs/{id}"'),
}
_WRONG_PYTHON: Final = {
    "a_sample_that_is_a_text": ("signal=[1, -1, 1]", 'signal=["1"]'),
    "no_date": ("date=date(2023, 7, 30), ", ""),
    "another_field": ('id="13"', 'id="13", patient="no"'),
    "leads_that_may_be_absent": ("assert result.leads, result\n", ""),
    "another_finding": (".zero_crossings", ".zero_crossing"),
    "another_parameter": ("wait=10", "until=10"),
}


class Project:
    """A folder of somebody who follows the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, command: str) -> tuple[int, str]:
        """Run a command; its exit status and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *command.split(),
            cwd=self.folder,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "npm_config_offline": "true",
                "npm_config_update_notifier": "false",
                "NO_COLOR": "1",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await asyncio.wait_for(process.communicate(), _WITHIN_S)
        return process.returncode or 0, printed.decode()

    def write_programs(self, address: str) -> None:
        """Write the programs of the page, for a gateway of this address."""
        for name, program in _PROGRAMS.items():
            (self.folder / name).write_text(program.replace(_ADDRESS, address))

    def write_variants(self, name: str, wrong: dict[str, tuple[str, str]]) -> list[str]:
        """Write a program that is wrong in one place, for each such place; the names of the files."""
        written = []
        for reason, (right, instead) in wrong.items():
            assert right in _PROGRAMS[name], reason
            written.append(f"{reason}{Path(name).suffix}")
            (self.folder / written[-1]).write_text(_PROGRAMS[name].replace(right, instead))
        return written


@pytest.fixture(scope="module")
async def project(gateway_alone: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With the clients that both generators make, which have nothing to say."""
    project = Project(tmp_path_factory.mktemp("typed_clients"))
    (project.folder / "node_modules").symlink_to(_ROOT / "tests/javascript/node_modules")
    (project.folder / "recording.ecg").write_bytes(a_binary_ecg(an_ecg_body(id="15")))
    project.write_programs(gateway_alone)
    [typescript] = [command for command in _COMMANDS if command.startswith("npx openapi-typescript ")]
    [python] = [command for command in _COMMANDS if command.startswith("openapi-python-client ")]
    status, printed = await project.run(typescript.replace(_ADDRESS, gateway_alone))
    assert status == 0, printed
    assert re.fullmatch(r"✨ openapi-typescript \S+\n🚀 \S+ → isoline\.d\.ts \[\S+\]\n", printed), printed
    assert await project.run(python.replace(_ADDRESS, gateway_alone)) == (0, "Generating isoline_api\n")
    return project


@pytest.fixture
async def demo(database: Database) -> None:
    """The demo account of the embedded mode."""
    hash_ = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("demo")
    await PostgresAccountStore(database).add(Account("demo", hash_, frozenset([Role.USER])))


@pytest.mark.usefixtures("processor", "demo")
async def test_the_programs_type_check_and_do_what_they_say(project: Project, gateway: str) -> None:
    project.write_programs(gateway)
    checks = [command for command in _COMMANDS if command.startswith(("npx tsc ", "mypy "))]
    assert len(checks) == 2
    for check in checks:
        status, printed = await project.run(check)
        assert status == 0, printed

    for command in ("node submit.mts", "python submit.py", "python submit_bytes.py"):
        program = command.split()[1]
        assert _PRINTED[program], program
        assert await project.run(command) == (0, _PRINTED[program]), program


@pytest.mark.usefixtures("demo")
async def test_bytes_are_a_blob_where_the_generator_is_told_so(project: Project, gateway: str) -> None:
    project.write_programs(gateway)
    types = project.folder / "isoline.d.ts"
    before = types.read_text()
    try:
        assert await project.run("node generate.mjs") == (0, "")
        assert '"application/octet-stream": Blob;' in types.read_text()
        status, printed = await project.run(_typescript_check("submit.mts", "submit_bytes.mts"))
        assert status == 0, printed
        assert await project.run("node submit_bytes.mts") == (0, _PRINTED["submit_bytes.mts"])
    finally:
        types.write_text(before)


async def test_a_wrong_typescript_program_does_not_type_check(project: Project) -> None:
    files = project.write_variants("submit.mts", _WRONG_TYPESCRIPT)

    _, printed = await project.run(_typescript_check("--skipLibCheck", *files))

    assert set(re.findall(r"^(\S+)\(\d+,\d+\): error TS", printed, re.MULTILINE)) == set(files), printed


async def test_a_wrong_python_program_does_not_type_check(project: Project) -> None:
    files = project.write_variants("submit.py", _WRONG_PYTHON)

    _, printed = await project.run(f"mypy --strict --follow-imports=silent {' '.join(files)}")

    assert set(re.findall(r"^(\S+):\d+: error: ", printed, re.MULTILINE)) == set(files), printed


def _typescript_check(*arguments: str) -> str:
    [check] = [command for command in _COMMANDS if command.startswith("npx tsc ")]
    return f"{check.removesuffix(' submit.mts')} {' '.join(arguments)}"
