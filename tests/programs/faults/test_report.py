"""The page of the suite: a part for each RabbitMQ, which a run on another leaves as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.programs.faults import report
from tests.programs.faults.report import write_page
from tests.programs.faults.run import Outcome

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "faults.md"
    page.write_text("# As nobody writes it any more\n")
    monkeypatch.setattr(report, "_FILE", page)
    return page


def write(rabbitmq: str, fault: str, note: str = "") -> None:
    outcome = Outcome(
        name=fault,
        accepted=640,
        retries=0,
        duplicates=0,
        events=640,
        stall_s=0.1,
        drain_s=0.1,
        took_s=1.0,
        breaches=[],
        note=note,
    )
    servers = {"RabbitMQ": rabbitmq}
    write_page([outcome], command="make faults", minutes=1, cores=2, footprints={}, servers=servers)


def test_each_rabbitmq_has_a_part_of_its_own_that_its_last_run_wrote(page: Path) -> None:
    write("4.0.5", "by 4")
    write("3.10.8", "by 3, before")
    write("3.10.8", "by 3")
    written = page.read_text()
    write("4.0.5", "by 4")

    assert page.read_text() == written
    assert [line for line in written.splitlines() if line.startswith(("# ", "## ", "| by"))] == [
        "# What happens when things break",
        "## RabbitMQ 3",
        "| by 3 | 640 | 0 | 0 | 0 | 0 | 0 | 0 | 0.1 s | 0.1 s |",
        "## RabbitMQ 4",
        "| by 4 | 640 | 0 | 0 | 0 | 0 | 0 | 0 | 0.1 s | 0.1 s |",
    ]


def test_what_a_fault_has_to_say_is_below_the_table(page: Path) -> None:
    write("3.10.8", "subscriber: killed", "killed 25 times")
    write("4.0.5", "nothing")
    third, fourth = page.read_text().split("## RabbitMQ 4")

    assert "| 0.1 s | 0.1 s |\n\n* subscriber: killed: killed 25 times.\n\nAccepted: **640**" in third
    assert "| 0.1 s | 0.1 s |\n\nAccepted: **640**" in fourth
