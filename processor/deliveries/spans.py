"""The spans of ECGs that are settled together: one of each, and in it one of each stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.observability.tracing import SpanKind, is_sampled, present_tracer, record_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.events import EcgKey
    from shared.observability.tracing import Span
    from shared.ports.ecgs import Claim


class EcgSpans:
    """The spans of those ECGs of a batch that are sampled.

    What is done for the batch in one statement is a span of the same times in each of them, so that the trace
    of one ECG shows all that it waited for.

    Args:
        received_ns: When their deliveries were received, since 1970; all spans begin then.
    """

    def __init__(self, received_ns: int) -> None:
        self._received_ns = received_ns
        self._spans: dict[EcgKey, Span] = {}

    def begin(self, claims: list[Claim]) -> list[Claim]:
        """Begin the spans of these attempts.

        Returns:
            The claims, each with the trace context of its span, which its event carries on.
        """
        tracer = present_tracer()
        if tracer is None:
            return claims
        continued = []
        for claim in claims:
            span = None
            if is_sampled(claim.traceparent):
                span = tracer.begin(
                    "analyse",
                    SpanKind.CONSUMER,
                    parent=claim.traceparent,
                    began_ns=self._received_ns,
                    isoline__ecg=claim.key.subject,
                    isoline__generation=claim.key.generation,
                    isoline__attempt=claim.attempt,
                    isoline__samples=claim.num_samples,
                )
            if span is not None:
                self._spans[claim.key] = span
                claim = claim._replace(traceparent=span.traceparent)  # noqa: PLW2901 - it goes on
            continued.append(claim)
        return continued

    def record(self, name: str, claims: Sequence[Claim], *, began_ns: int) -> None:
        """Record a stage that ends now, in the spans of these ECGs."""
        if self._spans:
            parents = (claim.traceparent for claim in claims if claim.key in self._spans)
            record_spans(name, parents, began_ns=began_ns, isoline__batch__ecgs=len(claims))

    def end(self, key: EcgKey, *, failure: str | None = None) -> None:
        """End the span of one, if it has one."""
        if (span := self._spans.pop(key, None)) is not None:
            span.end(failure=failure)

    def end_unsettled(self) -> None:
        """End the spans of those that were not settled."""
        for key in list(self._spans):
            self.end(key, failure="interrupted, for instance because PostgreSQL was away")

    @property
    def are_none(self) -> bool:
        """Whether no ECG is sampled."""
        return not self._spans
