"""Acknowledgements, checked with a broker that follows the rules of AMQP."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec

from shared.broker.rabbitmq.acknowledgements import Acknowledgements, Disposition


class Broker:
    """Outstanding deliveries, by the rules of AMQP."""

    def __init__(self) -> None:
        self.outstanding: set[int] = set()
        self.settled: dict[int, Disposition] = {}

    def receive(self, frame: spec.Basic.Ack | spec.Basic.Reject) -> None:
        tag = frame.delivery_tag or 0
        if isinstance(frame, spec.Basic.Reject):
            self._settle({tag}, Disposition.REQUEUE if frame.requeue else Disposition.DEAD_LETTER)
        elif frame.multiple:
            self._settle({other for other in self.outstanding if other <= tag}, Disposition.ACK)
        else:
            self._settle({tag}, Disposition.ACK)

    def _settle(self, tags: set[int], disposition: Disposition) -> None:
        assert tags <= self.outstanding, "it closes the channel: unknown delivery tag"
        self.outstanding -= tags
        self.settled |= dict.fromkeys(tags, disposition)


@given(st.data())
def test_every_delivery_gets_its_own_disposition_and_no_other(data: st.DataObject) -> None:
    acknowledgements, broker = Acknowledgements(), Broker()
    unsettled: list[int] = []
    settled: dict[int, Disposition] = {}
    next_tag = 1
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["deliver", "deliver", "settle", "settle", "send"])):
            case "deliver":
                acknowledgements.add(next_tag)
                broker.outstanding.add(next_tag)
                unsettled.append(next_tag)
                next_tag += 1
            case "settle" if unsettled:
                tag = unsettled.pop(data.draw(st.integers(0, len(unsettled) - 1)))
                settled[tag] = data.draw(st.sampled_from(Disposition))
                acknowledgements.settle(tag, settled[tag])
            case _:
                send(acknowledgements, broker)
    send(acknowledgements, broker)

    assert broker.settled == settled
    assert broker.outstanding == set(unsettled)
    assert acknowledgements.unsettled == len(unsettled)


def send(acknowledgements: Acknowledgements, broker: Broker) -> None:
    for frame in acknowledgements.frames():
        broker.receive(frame)
    acknowledgements.mark_sent(len(acknowledgements))


def test_acks_below_the_oldest_unsettled_delivery_are_one() -> None:
    acknowledgements = Acknowledgements()
    for tag in range(1, 6):
        acknowledgements.add(tag)
    for tag in (3, 1, 2, 5):
        acknowledgements.settle(tag, Disposition.ACK)

    frames = [(frame.delivery_tag, getattr(frame, "multiple", None)) for frame in acknowledgements.frames()]

    assert frames == [(5, False), (3, True)]


def test_what_is_settled_while_others_are_sent_is_sent_next() -> None:
    acknowledgements = Acknowledgements()
    acknowledgements.add(1)
    acknowledgements.add(2)
    acknowledgements.settle(1, Disposition.ACK)
    sent = len(acknowledgements)
    acknowledgements.settle(2, Disposition.REQUEUE)

    acknowledgements.mark_sent(sent)

    [frame] = acknowledgements.frames()
    assert (type(frame), frame.delivery_tag) == (spec.Basic.Reject, 2)
