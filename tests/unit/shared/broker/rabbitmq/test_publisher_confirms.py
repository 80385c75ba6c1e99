"""Counting off confirmations, in whatever order and portions the broker sends them."""

from __future__ import annotations

from itertools import groupby
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from shared.broker.rabbitmq import publisher_confirms
from shared.broker.rabbitmq.publisher_confirms import Fate, Tally, Unconfirmed
from shared.events import Event, EventType

_FATES = st.sampled_from([Fate.TAKEN, Fate.REFUSED, Fate.UNROUTABLE])


def events(count: int, size: int = 2) -> list[Event]:
    return [Event(uuid4(), EventType.SUBMITTED, b"x" * size)] * count


@given(st.lists(st.lists(_FATES, min_size=1, max_size=8), min_size=1, max_size=8), st.data())
def test_every_call_learns_the_fate_of_each_of_its_events(
    calls: list[list[Fate]], data: st.DataObject
) -> None:
    way, tallies = Unconfirmed(), [Tally(len(call)) for call in calls]
    for tally in tallies:
        way.add(events(len(tally.fates)), tally, 0)
    fates = dict(enumerate((fate for call in calls for fate in call), 1))

    confirm_all(way, fates, data)

    assert [tally.fates for tally in tallies] == calls
    assert all(tally.complete.is_set() for tally in tallies)
    assert way.waited_s() == 0


def confirm_all(way: Unconfirmed, fates: dict[int, Fate], data: st.DataObject) -> None:
    """Tell the fates one by one in any order, or, in theirs, as runs of one kind."""
    for tag in [tag for tag, fate in fates.items() if fate is Fate.UNROUTABLE]:
        way.give_back(tag)  # the broker returns a message before it confirms it
    word = {tag: Fate.TAKEN if fate is Fate.UNROUTABLE else fate for tag, fate in fates.items()}
    if data.draw(st.booleans(), label="in runs"):
        for fate, run in groupby(word, key=word.__getitem__):
            way.confirm(max(run), fate, multiple=True)
    else:
        for tag in data.draw(st.permutations(list(word)), label="order"):
            way.confirm(tag, word[tag])


def test_one_may_be_confirmed_before_all_up_to_a_later_one() -> None:
    way, tally = Unconfirmed(), Tally(4)
    way.add(events(4), tally, 0)

    way.confirm(2, Fate.REFUSED)
    way.confirm(3, Fate.TAKEN, multiple=True)

    assert tally.fates == [Fate.TAKEN, Fate.REFUSED, Fate.TAKEN, Fate.UNKNOWN]
    assert not tally.complete.is_set()


def test_the_first_word_on_many_costs_nothing_for_those_that_were_confirmed_one_by_one() -> None:
    way, tally = Unconfirmed(), Tally(1)
    way.next_tag = 2**40
    way.add(events(1), tally, 0)

    way.confirm(2**40, Fate.TAKEN, multiple=True)

    assert tally.complete.is_set()


def test_zero_means_all_that_were_sent() -> None:
    way, tally = Unconfirmed(), Tally(3)
    way.add(events(3), tally, 0)

    way.confirm(0, Fate.TAKEN, multiple=True)

    assert tally.complete.is_set()


def test_what_was_confirmed_before_or_never_sent_changes_nothing() -> None:
    way, tally = Unconfirmed(), Tally(2)
    way.add(events(2), tally, 0)
    way.confirm(1, Fate.TAKEN)

    way.confirm(1, Fate.REFUSED)
    way.confirm(99, Fate.REFUSED)
    way.give_back(99)

    assert tally.fates == [Fate.TAKEN, Fate.UNKNOWN]


def test_an_early_word_on_all_does_not_spoil_what_is_sent_later() -> None:
    way, tally = Unconfirmed(), Tally(1)
    way.confirm(99, Fate.REFUSED, multiple=True)

    way.add(events(1), tally, 0)
    way.confirm(1, Fate.TAKEN, multiple=True)

    assert tally.fates == [Fate.TAKEN]


def test_there_is_room_until_so_many_messages_are_on_their_way() -> None:
    way, tally = Unconfirmed(), Tally(publisher_confirms.MAX_MESSAGES)
    way.add(events(publisher_confirms.MAX_MESSAGES - 1), tally, 0)
    assert way.room.is_set()

    way.add(events(1), tally, publisher_confirms.MAX_MESSAGES - 1)
    assert not way.room.is_set()

    way.confirm(1, Fate.TAKEN)
    assert way.room.is_set()


def test_there_is_room_until_so_many_bytes_are_on_their_way() -> None:
    way, tally = Unconfirmed(), Tally(1)
    way.add(events(1, size=publisher_confirms.MAX_BYTES), tally, 0)
    assert not way.room.is_set()

    way.confirm(1, Fate.REFUSED)

    assert way.room.is_set()


def test_the_oldest_says_how_long_there_has_been_no_word() -> None:
    way = Unconfirmed()
    assert way.waited_s() == 0

    way.add(events(1), Tally(1), 0)

    assert way.waited_s() > 0
