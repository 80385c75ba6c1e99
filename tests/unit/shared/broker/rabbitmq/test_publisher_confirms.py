"""Matching confirms in any order, single or multiple."""

from __future__ import annotations

from itertools import groupby
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from shared.broker.rabbitmq import publisher_confirms
from shared.broker.rabbitmq.publisher_confirms import BatchOutcomes, PublisherConfirms, PublishOutcome
from shared.events import Event, EventType

_OUTCOMES = st.sampled_from([PublishOutcome.CONFIRMED, PublishOutcome.NACKED, PublishOutcome.UNROUTABLE])


def events(count: int, size: int = 2) -> list[Event]:
    return [Event(uuid4(), EventType.SUBMITTED, b"x" * size)] * count


@given(st.lists(st.lists(_OUTCOMES, min_size=1, max_size=8), min_size=1, max_size=8), st.data())
def test_every_call_learns_the_outcome_of_each_of_its_events(
    calls: list[list[PublishOutcome]], data: st.DataObject
) -> None:
    confirms, batches = PublisherConfirms(), [BatchOutcomes(len(call)) for call in calls]
    for batch in batches:
        confirms.add(events(len(batch.outcomes)), batch, 0)
    outcomes = dict(enumerate((outcome for call in calls for outcome in call), 1))

    confirm_all(confirms, outcomes, data)

    assert [batch.outcomes for batch in batches] == calls
    assert all(batch.complete.is_set() for batch in batches)
    assert confirms.oldest_wait_s() == 0


def confirm_all(
    confirms: PublisherConfirms, outcomes: dict[int, PublishOutcome], data: st.DataObject
) -> None:
    """Confirm one by one in any order, or in order with multiple confirms of equal outcomes."""
    for tag in [tag for tag, outcome in outcomes.items() if outcome is PublishOutcome.UNROUTABLE]:
        confirms.mark_unroutable(tag)  # the broker returns a message before it confirms it
    word = {
        tag: PublishOutcome.CONFIRMED if outcome is PublishOutcome.UNROUTABLE else outcome
        for tag, outcome in outcomes.items()
    }
    if data.draw(st.booleans(), label="in runs"):
        for outcome, run in groupby(word, key=word.__getitem__):
            confirms.confirm(max(run), outcome, multiple=True)
    else:
        for tag in data.draw(st.permutations(list(word)), label="order"):
            confirms.confirm(tag, word[tag])


def test_one_may_be_confirmed_before_all_up_to_a_later_one() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(4)
    confirms.add(events(4), batch, 0)

    confirms.confirm(2, PublishOutcome.NACKED)
    confirms.confirm(3, PublishOutcome.CONFIRMED, multiple=True)

    assert batch.outcomes == [
        PublishOutcome.CONFIRMED,
        PublishOutcome.NACKED,
        PublishOutcome.CONFIRMED,
        PublishOutcome.UNKNOWN,
    ]
    assert not batch.complete.is_set()


def test_a_multiple_confirm_costs_nothing_for_messages_that_were_confirmed_one_by_one() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(1)
    confirms.next_tag = 2**40
    confirms.add(events(1), batch, 0)

    confirms.confirm(2**40, PublishOutcome.CONFIRMED, multiple=True)

    assert batch.complete.is_set()


def test_tag_zero_means_all_sent_messages() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(3)
    confirms.add(events(3), batch, 0)

    confirms.confirm(0, PublishOutcome.CONFIRMED, multiple=True)

    assert batch.complete.is_set()


def test_a_confirm_of_an_unknown_tag_changes_nothing() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(2)
    confirms.add(events(2), batch, 0)
    confirms.confirm(1, PublishOutcome.CONFIRMED)

    confirms.confirm(1, PublishOutcome.NACKED)
    confirms.confirm(99, PublishOutcome.NACKED)
    confirms.mark_unroutable(99)

    assert batch.outcomes == [PublishOutcome.CONFIRMED, PublishOutcome.UNKNOWN]


def test_an_early_confirm_of_all_does_not_affect_later_messages() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(1)
    confirms.confirm(99, PublishOutcome.NACKED, multiple=True)

    confirms.add(events(1), batch, 0)
    confirms.confirm(1, PublishOutcome.CONFIRMED, multiple=True)

    assert batch.outcomes == [PublishOutcome.CONFIRMED]


def test_there_is_capacity_up_to_a_number_of_unconfirmed_messages() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(publisher_confirms.MAX_MESSAGES)
    confirms.add(events(publisher_confirms.MAX_MESSAGES - 1), batch, 0)
    assert confirms.has_capacity.is_set()

    confirms.add(events(1), batch, publisher_confirms.MAX_MESSAGES - 1)
    assert not confirms.has_capacity.is_set()

    confirms.confirm(1, PublishOutcome.CONFIRMED)
    assert confirms.has_capacity.is_set()


def test_there_is_capacity_up_to_a_number_of_unconfirmed_bytes() -> None:
    confirms, batch = PublisherConfirms(), BatchOutcomes(1)
    confirms.add(events(1, size=publisher_confirms.MAX_BYTES), batch, 0)
    assert not confirms.has_capacity.is_set()

    confirms.confirm(1, PublishOutcome.NACKED)

    assert confirms.has_capacity.is_set()


def test_the_oldest_unconfirmed_message_gives_the_wait() -> None:
    confirms = PublisherConfirms()
    assert confirms.oldest_wait_s() == 0

    confirms.add(events(1), BatchOutcomes(1), 0)

    assert confirms.oldest_wait_s() > 0
