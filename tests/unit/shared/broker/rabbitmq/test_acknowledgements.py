"""Telling a broker how deliveries ended, checked with a broker that does what it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec

from shared.broker.rabbitmq.acknowledgements import Ending, Endings


class Broker:
    """What AMQP says of outstanding deliveries."""

    def __init__(self) -> None:
        self.outstanding: set[int] = set()
        self.ended: dict[int, Ending] = {}

    def hear(self, frame: spec.Basic.Ack | spec.Basic.Reject) -> None:
        tag = frame.delivery_tag or 0
        if isinstance(frame, spec.Basic.Reject):
            self._end({tag}, Ending.REQUEUE if frame.requeue else Ending.DEAD_LETTER)
        elif frame.multiple:
            self._end({other for other in self.outstanding if other <= tag}, Ending.ACK)
        else:
            self._end({tag}, Ending.ACK)

    def _end(self, tags: set[int], ending: Ending) -> None:
        assert tags <= self.outstanding, "it closes the channel: unknown delivery tag"
        self.outstanding -= tags
        self.ended |= dict.fromkeys(tags, ending)


@given(st.data())
def test_every_delivery_ends_as_it_was_ended_and_no_other(data: st.DataObject) -> None:
    endings, broker = Endings(), Broker()
    in_hand: list[int] = []
    ended: dict[int, Ending] = {}
    next_tag = 1
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["begin", "begin", "end", "end", "tell"])):
            case "begin":
                endings.begin(next_tag)
                broker.outstanding.add(next_tag)
                in_hand.append(next_tag)
                next_tag += 1
            case "end" if in_hand:
                tag = in_hand.pop(data.draw(st.integers(0, len(in_hand) - 1)))
                ended[tag] = data.draw(st.sampled_from(Ending))
                endings.end(tag, ended[tag])
            case _:
                tell(endings, broker)
    tell(endings, broker)

    assert broker.ended == ended
    assert broker.outstanding == set(in_hand)
    assert endings.in_hand == len(in_hand)


def tell(endings: Endings, broker: Broker) -> None:
    for frame in endings.frames():
        broker.hear(frame)
    endings.forget(len(endings))


def test_acknowledgements_below_everything_in_hand_are_one() -> None:
    endings = Endings()
    for tag in range(1, 6):
        endings.begin(tag)
    for tag in (3, 1, 2, 5):
        endings.end(tag, Ending.ACK)

    told = [(frame.delivery_tag, getattr(frame, "multiple", None)) for frame in endings.frames()]

    assert told == [(5, False), (3, True)]


def test_what_ends_while_others_are_told_is_told_next() -> None:
    endings = Endings()
    endings.begin(1)
    endings.begin(2)
    endings.end(1, Ending.ACK)
    told = len(endings)
    endings.end(2, Ending.REQUEUE)

    endings.forget(told)

    [frame] = endings.frames()
    assert (type(frame), frame.delivery_tag) == (spec.Basic.Reject, 2)
