from processor.deliveries.pace import Pace
from processor.deliveries.prefetch import Prefetch


class RecordingConsumer:
    """A consumer that only records the prefetches that it is given."""

    def __init__(self) -> None:
        self.prefetches: list[int] = []

    async def set_prefetch(self, count: int) -> None:
        self.prefetches.append(count)


def prefetch_of(consumer: RecordingConsumer, pace: Pace, *, concurrency: int = 1) -> Prefetch:
    return Prefetch(consumer, pace, most=320, concurrency=concurrency)  # type: ignore[arg-type]


class TestPace:
    def test_until_something_was_measured_one_ecg_is_taken_at_a_time(self) -> None:
        pace = Pace()

        assert pace.is_slow
        assert pace.ecgs_to_claim(512) == 1
        assert pace.messages_to_hold(320, concurrency=1) == 1

    def test_as_many_ecgs_are_claimed_as_take_half_a_second(self) -> None:
        pace = Pace()

        pace.record_measured(1, 0.2)

        assert pace.is_slow
        assert pace.ecgs_to_claim(512) == 2

    def test_ecgs_slower_than_that_are_claimed_one_by_one(self) -> None:
        assert Pace(ecg_s=30.0).ecgs_to_claim(512) == 1

    def test_of_fast_ecgs_as_many_are_claimed_as_may_be(self) -> None:
        pace = Pace()

        pace.record_measured(64, 0.02)

        assert not pace.is_slow
        assert pace.ecgs_to_claim(512) == 512

    def test_as_many_messages_are_held_as_take_half_a_second(self) -> None:
        assert Pace(ecg_s=0.25).messages_to_hold(320, concurrency=1) == 2

    def test_messages_that_name_many_ecgs_count_for_more(self) -> None:
        pace = Pace(ecg_s=0.01)

        for _ in range(50):
            pace.record_messages(2, 40)

        assert pace.messages_to_hold(320, concurrency=1) == 2

    def test_of_more_than_a_second_half_a_second_is_kept(self) -> None:
        pace = Pace(ecg_s=0.25)

        assert pace.ecgs_to_keep(4) == 4
        assert pace.ecgs_to_keep(5) == 2

    def test_one_ecg_is_kept_however_long_it_takes(self) -> None:
        assert Pace(ecg_s=60.0).ecgs_to_keep(64) == 1
        assert Pace(ecg_s=60.0).ecgs_to_keep(0) == 0

    def test_all_are_kept_while_their_time_is_not_known(self) -> None:
        assert Pace().ecgs_to_keep(64) == 64

    def test_each_concurrent_batch_has_a_message(self) -> None:
        assert Pace(ecg_s=60.0).messages_to_hold(320, concurrency=4) == 4
        assert Pace(ecg_s=60.0).messages_to_hold(2, concurrency=4) == 2

    def test_what_takes_no_time_that_a_clock_shows_is_fast(self) -> None:
        pace = Pace()

        pace.record_measured(1, 0.0)

        assert pace.messages_to_hold(320, concurrency=1) == 320

    def test_the_latest_measurements_count_most(self) -> None:
        pace = Pace(ecg_s=0.0001)

        for _ in range(10):
            pace.record_measured(1, 0.25)

        assert pace.ecgs_to_claim(512) == 2


class TestPrefetch:
    async def test_it_begins_with_one_message_for_each_concurrent_batch(self) -> None:
        consumer = RecordingConsumer()
        prefetch = prefetch_of(consumer, Pace(), concurrency=2)

        await prefetch.adjust()

        assert consumer.prefetches == [2]
        assert prefetch.batch_messages == 1

    async def test_it_follows_the_pace(self) -> None:
        consumer, pace = RecordingConsumer(), Pace()
        prefetch = prefetch_of(consumer, pace)
        await prefetch.adjust()

        pace.record_measured(1, 0.1)
        await prefetch.adjust()

        assert consumer.prefetches == [1, 5]
        assert prefetch.batch_messages == 5

    async def test_the_broker_is_not_asked_for_a_small_change(self) -> None:
        consumer, pace = RecordingConsumer(), Pace(ecg_s=0.1)
        prefetch = prefetch_of(consumer, pace)
        await prefetch.adjust()

        pace.record_measured(1, 0.13)
        await prefetch.adjust()

        assert consumer.prefetches == [5]

    async def test_fast_ecgs_give_all_that_is_allowed(self) -> None:
        consumer, pace = RecordingConsumer(), Pace(ecg_s=0.01)
        prefetch = prefetch_of(consumer, pace)
        await prefetch.adjust()

        for _ in range(10):
            pace.record_measured(64, 0.01)
        await prefetch.adjust()

        assert consumer.prefetches == [50, 320]
