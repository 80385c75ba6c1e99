from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from shared.domain.errors import NotFoundError, UnavailableError
from shared.events import EcgKey
from shared.operations.dead_letters import find_dead_letters, settle_dead_letters
from shared.operations.replay import replay
from shared.ports.operators.dead_letters import DeadLetter, Decision
from shared.ports.operators.operations import AuditNote, Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.domain.findings import JsonValue

_NOTE = AuditNote("ada", "mended")
_NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


class _Queue:
    """Dead letters in memory; settling and recording add an entry to the log."""

    def __init__(self, log: list[str], *names: str) -> None:
        self.letters = [DeadLetter(name, "rejected", name.encode()) for name in names]
        self._log = log

    async def settle_each(self, decide: Callable[[DeadLetter], Decision]) -> list[DeadLetter]:
        present, decisions = self.letters, [decide(letter) for letter in self.letters]
        self.letters = [
            each for each, decision in zip(present, decisions, strict=True) if decision is Decision.KEEP
        ]
        self._log += [
            f"{decision.name} {each.name}"
            for each, decision in zip(present, decisions, strict=True)
            if decision is not Decision.KEEP
        ]
        return present


class _Operations:
    """So many finished ECGs in memory; the last page may fail."""

    def __init__(self, log: list[str], finished: int = 0, *, fails_after: int | None = None) -> None:
        self._log = log
        self._finished = [EcgKey("ada", str(number), 2) for number in range(finished)]
        self._fails_after = fails_after
        self.asked: list[datetime] = []

    async def now(self) -> datetime:
        return _NOW

    async def count(self, selection: Selection) -> int:
        raise NotImplementedError

    async def replay(
        self, selection: Selection, note: AuditNote, *, finished_before: datetime, limit: int
    ) -> list[EcgKey]:
        del selection, note
        if len(self.asked) == self._fails_after:
            raise UnavailableError("away")
        self.asked.append(finished_before)
        page, self._finished = self._finished[:limit], self._finished[limit:]
        return page

    async def record(self, what: str, subject: JsonValue, note: AuditNote) -> None:
        self._log.append(f"{what} {subject} {note.who} {note.why}")


@pytest.mark.parametrize(("finished", "pages"), [(0, 1), (999, 1), (1000, 2), (2500, 3)])
async def test_a_replay_goes_on_page_by_page_and_leaves_out_what_finishes_meanwhile(
    finished: int, pages: int
) -> None:
    operations = _Operations([], finished)

    replayed = await replay(Selection(owner="ada"), _NOTE, operations=operations)

    assert [key.id for key in replayed] == [str(number) for number in range(finished)]
    assert operations.asked == [_NOW] * pages


async def test_a_replay_reports_an_outage_of_the_store() -> None:
    operations = _Operations([], 2500, fails_after=1)

    with pytest.raises(UnavailableError, match="away"):
        await replay(Selection(owner="ada"), _NOTE, operations=operations)


async def test_dead_letters_are_found_by_name_or_all_together_and_stay() -> None:
    letters = _Queue([], "a", "b", "c")

    some = await find_dead_letters(["c", "a"], letters=letters)
    every = await find_dead_letters(letters=letters)

    assert [letter.name for letter in some] == ["a", "c"]
    assert every == letters.letters
    assert len(every) == 3


async def test_names_of_no_dead_letter_are_all_said() -> None:
    with pytest.raises(NotFoundError, match=r"There is no dead letter x, y\."):
        await find_dead_letters(["y", "a", "x"], letters=_Queue([], "a"))


@pytest.mark.parametrize("decision", [Decision.REPLAY, Decision.DROP])
async def test_settling_is_recorded_first_and_other_letters_stay(decision: Decision) -> None:
    log: list[str] = []
    letters = _Queue(log, "a", "b", "c")

    await settle_dead_letters({"c", "a"}, decision, _NOTE, letters=letters, operations=_Operations(log))

    assert log == [
        f"dlq {decision.name.lower()} ['a', 'c'] ada mended",
        f"{decision.name} a",
        f"{decision.name} c",
    ]
    assert [letter.name for letter in letters.letters] == ["b"]
