"""Pace of a processor: how long ECGs take to measure, and so how many it may take from the others."""

from __future__ import annotations

from typing import Final

# ECGs that are claimed together are committed together: results are late by so much at the most, and a
# processor that dies leaves so much to be analysed one by one.
_CLAIM_S: Final = 0.5
# What one processor holds no other can measure; but it has to last until the broker delivers more.
_HOLD_S: Final = 0.5
# An ECG that takes longer is measured in a thread: the hand-over takes 0.1 ms and more.
_SLOW_S: Final = 0.01
_SHORTEST_S: Final = 1e-6
_WEIGHT_OF_LATEST: Final = 0.3


class Pace:
    """Moving averages of what was measured; until then an ECG counts as slow, and one is taken at a time.

    Args:
        ecg_s: How long an ECG is known to take.
    """

    def __init__(self, ecg_s: float | None = None) -> None:
        self._ecg_s = ecg_s
        self._ecgs_per_message = 1.0

    def record_measured(self, ecgs: int, seconds: float) -> None:
        """So many ECGs, one at least, took so long to measure."""
        latest_s = max(seconds / ecgs, _SHORTEST_S)
        self._ecg_s = latest_s if self._ecg_s is None else _average(self._ecg_s, latest_s)

    def record_messages(self, messages: int, ecgs: int) -> None:
        """So many messages, one at least, named so many ECGs."""
        self._ecgs_per_message = _average(self._ecgs_per_message, ecgs / messages)

    @property
    def is_slow(self) -> bool:
        """Whether an ECG takes too long to be measured in the event loop."""
        return self._ecg_s is None or self._ecg_s > _SLOW_S

    def ecgs_to_claim(self, most: int) -> int:
        """How many ECGs take half a second."""
        return 1 if self._ecg_s is None else _limited(_CLAIM_S / self._ecg_s, 1, most)

    def ecgs_to_keep(self, count: int) -> int:
        """How many of these to measure here: all, or half a second of them if they take more than one."""
        if self._ecg_s is None or count * self._ecg_s <= 2 * _HOLD_S:
            return count
        return _limited(_HOLD_S / self._ecg_s, 1, count)

    def messages_to_hold(self, most: int, *, concurrency: int) -> int:
        """How many messages take half a second, with one for each concurrent batch at least."""
        least = min(concurrency, most)
        if self._ecg_s is None:
            return least
        return _limited(concurrency * _HOLD_S / (self._ecg_s * self._ecgs_per_message), least, most)


def _average(before: float, latest: float) -> float:
    return before + _WEIGHT_OF_LATEST * (latest - before)


def _limited(value: float, least: int, most: int) -> int:
    return int(min(max(value, least), most))
