from __future__ import annotations

from processor.insights import INSIGHTS
from processor.insights.zero_crossings import ZERO_CROSSINGS


def test_zero_crossings_are_the_first_entry() -> None:
    assert INSIGHTS[0] is ZERO_CROSSINGS
    assert (ZERO_CROSSINGS.name, ZERO_CROSSINGS.version) == ("zero_crossings", 1)


def test_every_entry_has_a_name_of_its_own() -> None:
    names = [insight.name for insight in INSIGHTS]

    assert len(set(names)) == len(names)


def test_no_entry_is_named_like_what_stands_beside_it_in_a_result() -> None:
    assert not {insight.name for insight in INSIGHTS} & {"", "warnings"}


def test_every_entry_has_a_version_from_1() -> None:
    assert all(insight.version >= 1 for insight in INSIGHTS)
