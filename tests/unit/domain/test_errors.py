from __future__ import annotations

import pytest

from shared.domain.errors import RateLimitedError, UnavailableError


def test_a_rate_limit_says_when_to_retry() -> None:
    error = RateLimitedError("Wait before the next.", retry_after_s=1.5)

    assert (str(error), error.retry_after_s) == ("Wait before the next.", 1.5)


@pytest.mark.parametrize("is_logged", [True, False])
@pytest.mark.parametrize("needs_operator", [True, False])
def test_an_unavailable_error_can_be_raised_again_with_the_same_content(
    *, needs_operator: bool, is_logged: bool
) -> None:
    error = UnavailableError(
        "the disk is full", for_sender="Come again.", needs_operator=needs_operator, is_logged=is_logged
    )

    copy = error.copy()

    for each in (error, copy):
        assert (str(each), each.for_sender) == ("the disk is full", "Come again.")
        assert (each.needs_operator, each.is_logged) == (needs_operator, is_logged)
    assert copy is not error


def test_an_unavailable_error_by_default_needs_no_operator_and_is_not_logged() -> None:
    error = UnavailableError("no answer")

    assert (error.for_sender, error.needs_operator, error.is_logged) == ("", False, False)
