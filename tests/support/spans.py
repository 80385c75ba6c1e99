"""A tracer that remembers its spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.observability.tracing import now_ns, trace_id_of

if TYPE_CHECKING:
    from shared.observability.tracing import SpanKind


@dataclass(slots=True, kw_only=True)
class RememberedSpan:
    """A `shared.observability.tracing.Span`, and all that is said of it.

    Attributes:
        ended_ns: None until it ends.
    """

    name: str
    parent: str | None
    traceparent: str
    began_ns: int
    attributes: dict[str, str | int | None]
    failure: str | None = None
    ended_ns: int | None = None

    def end(
        self,
        *,
        name: str = "",
        failure: str | None = None,
        ended_ns: int | None = None,
        **attributes: str | int | None,
    ) -> None:
        assert self.ended_ns is None, f"{self.name} ends twice"
        self.name = name or self.name
        self.failure = failure
        self.ended_ns = ended_ns or now_ns()
        self.attributes |= attributes


@dataclass(slots=True)
class RememberingTracer:
    """A `shared.observability.tracing.Tracer` that samples everything."""

    spans: list[RememberedSpan] = field(default_factory=list)

    def begin(
        self,
        name: str,
        kind: SpanKind,  # noqa: ARG002 - the port has it
        *,
        parent: str | None,
        began_ns: int | None = None,
        **attributes: str | int | None,
    ) -> RememberedSpan:
        span = RememberedSpan(
            name=name,
            parent=parent,
            traceparent=f"00-{trace_id_of(parent) or '1' * 32}-{len(self.spans) + 1:016x}-01",
            began_ns=began_ns or now_ns(),
            attributes=attributes,
        )
        self.spans.append(span)
        return span

    def named(self, name: str) -> list[RememberedSpan]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def below(self, span: RememberedSpan) -> list[RememberedSpan]:
        """The children of a span, in the order in which they were recorded."""
        return [child for child in self.spans if child.parent == span.traceparent]
