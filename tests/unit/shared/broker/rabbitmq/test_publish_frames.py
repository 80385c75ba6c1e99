"""The frames of a published event, read by the library."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from shared.broker.rabbitmq.publish_frames import PublishFrames
from shared.events import Event, EventType

_FRAME_MAX = 4096
_FULL_BODY = _FRAME_MAX - 8


def an_event(body: bytes = b"{}", type_: EventType = EventType.SUBMITTED) -> Event:
    return Event(uuid4(), type_, body)


def the_frames(event: Event, tag: int = 1, *, frame_max: int = _FRAME_MAX) -> list[object]:
    left = b"".join(PublishFrames("ecg.events", channel=7, frame_max=frame_max).encode_publish(event, tag))
    frames: list[object] = []
    while left:
        size, channel, frame = unmarshal(left)
        assert channel == 7
        assert size <= (frame_max or size)
        frames.append(frame)
        left = left[size:]
    return frames


@pytest.mark.parametrize("type_", EventType)
def test_an_event_is_a_publish_a_header_and_its_body(type_: EventType) -> None:
    publish, header, body = the_frames(an_event(b'{"a":1}', type_))

    assert isinstance(publish, spec.Basic.Publish)
    assert (publish.exchange, publish.routing_key, publish.mandatory) == ("ecg.events", type_, True)
    assert isinstance(header, ContentHeader)
    assert (header.body_size, header.properties.delivery_mode) == (7, 2)
    assert header.properties.content_type == "application/cloudevents+json"
    assert header.properties.message_type == type_
    assert isinstance(body, ContentBody)
    assert body.value == b'{"a":1}'


def test_they_are_byte_for_byte_the_frames_of_the_library() -> None:
    written = b"".join(
        PublishFrames("ecg.events", channel=7, frame_max=_FRAME_MAX).encode_publish(an_event(b"x"), 258)
    )

    assert written == b"".join(marshal(frame, 7) for frame in the_frames_of(written))


def the_frames_of(written: bytes) -> list[spec.Basic.Publish | ContentHeader | ContentBody]:
    frames = []
    while written:
        size, _, frame = unmarshal(written)
        assert isinstance(frame, spec.Basic.Publish | ContentHeader | ContentBody)
        frames.append(frame)
        written = written[size:]
    return frames


@given(st.integers(0, 3 * _FULL_BODY + 1) | st.sampled_from([_FULL_BODY, _FULL_BODY + 1, 2 * _FULL_BODY]))
def test_a_body_is_split_into_as_many_frames_as_it_needs(size: int) -> None:
    sent = (b"0123456789" * (size // 10 + 1))[:size]

    _, header, *bodies = the_frames(an_event(sent))

    assert isinstance(header, ContentHeader)
    assert header.body_size == size
    assert len(bodies) == -(-size // _FULL_BODY)
    assert b"".join(body.value for body in bodies if isinstance(body, ContentBody)) == sent


def test_a_broker_that_states_no_largest_frame_gets_frames_of_the_usual_size() -> None:
    _, _, *bodies = the_frames(an_event(b"x" * 200_000), frame_max=0)

    assert len(bodies) == 2


@given(st.integers(1, 2**63 - 1))
def test_the_message_id_says_which_one_it_was(tag: int) -> None:
    frames = PublishFrames("ecg.events", channel=1, frame_max=_FRAME_MAX)

    _, header, _ = the_frames_of(b"".join(frames.encode_publish(an_event(), tag)))

    assert isinstance(header, ContentHeader)
    assert frames.tag_of(header.properties.message_id) == tag


@pytest.mark.parametrize("message_id", [None, "", "another", "0" * 48])
def test_a_message_of_another_channel_has_no_tag(message_id: str | None) -> None:
    assert PublishFrames("ecg.events", channel=1, frame_max=_FRAME_MAX).tag_of(message_id) is None


def test_no_two_channels_give_the_same_message_id() -> None:
    [one, other] = (PublishFrames("ecg.events", channel=1, frame_max=_FRAME_MAX) for _ in range(2))

    assert b"".join(one.encode_publish(an_event(), 1)) != b"".join(other.encode_publish(an_event(), 1))
