"""Traces (OpenTelemetry): one for each transcription, from the caller's request to its receivers.

Spans are made and sent when the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set. Without them the
caller's trace context, a W3C `traceparent`, is kept and passed on all the same.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Status, Tracer

log = structlog.get_logger(__name__)

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Kind = Literal["server", "client", "consumer"]
Fact = str | int | None
NANOS = 1_000_000  # of a millisecond


def sane_traceparent(given: str | None) -> str | None:
    """The header if it is well-formed; anything else is passed over, as the W3C asks."""
    return given if given and TRACEPARENT.fullmatch(given) else None


@dataclass(frozen=True)
class Handle:
    """A span that is open. `traceparent` is what calls made within it carry; None when nobody traces."""

    traceparent: str | None
    _span: "Span | None" = None

    def note(self, **facts: Fact) -> None:
        """Add what became known on the way: ids and codes, never text or addresses of the caller's."""
        if self._span is not None:
            self._span.set_attributes(_attributes(facts))


class Traces:
    """Makes the spans of one process."""

    def __init__(self, tracer: "Tracer | None" = None, close: Callable[[], None] = lambda: None) -> None:
        self.tracer = tracer
        self.close = close  # sends what is left; it may wait for the network

    @contextmanager
    def span(self, name: str, parent: str | None, kind: Kind, **facts: Fact) -> Iterator[Handle]:
        """A span of what is done in the block. `parent` is the traceparent it belongs to; None begins a trace."""
        if self.tracer is None:
            with _logged_with(parent):
                yield Handle(parent)
            return
        with self.tracer.start_as_current_span(
            name,
            _context(parent),
            kind=_kind(kind),
            attributes=_attributes(facts),
            record_exception=False,  # what an exception says may hold what must not leave
            set_status_on_exception=False,
        ) as span:
            traceparent = _traceparent_of(span)
            try:
                with _logged_with(traceparent):
                    yield Handle(traceparent, span)
            except BaseException as error:
                span.set_status(_failed(error))
                raise

    def past(self, name: str, parent: str | None, from_ms: int, to_ms: int, **facts: Fact) -> None:
        """A span of what went on between two moments."""
        if self.tracer is not None:
            context, attributes = _context(parent), _attributes(facts)
            span = self.tracer.start_span(name, context, attributes=attributes, start_time=from_ms * NANOS)
            span.end(to_ms * NANOS)


def open_traces(endpoint: str, service_name: str) -> Traces:
    """Spans go to `endpoint` (OTLP over HTTP); to the empty one none. The caller closes them."""
    provider = _provider(endpoint, service_name) if endpoint else None
    return Traces() if provider is None else Traces(provider.get_tracer("soniox-relay"), provider.shutdown)


def _provider(endpoint: str, service_name: str) -> "TracerProvider | None":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("no_traces_are_sent", reason="install the extra: pip install 'soniox-relay[otel]'")
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")))
    return provider


@contextmanager
def _logged_with(traceparent: str | None) -> Iterator[None]:
    if traceparent is None:
        yield
        return
    with structlog.contextvars.bound_contextvars(trace_id=traceparent.split("-")[1]):
        yield


def _context(parent: str | None) -> "Context":
    from opentelemetry.context import Context  # noqa: PLC0415  # an extra
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier = {"traceparent": parent} if parent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _traceparent_of(span: "Span") -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _kind(kind: Kind) -> "SpanKind":
    from opentelemetry.trace import SpanKind  # noqa: PLC0415  # an extra

    return SpanKind[kind.upper()]


def _failed(error: BaseException) -> "Status":
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415  # an extra

    return Status(StatusCode.ERROR, type(error).__name__)


def _attributes(facts: dict[str, Fact]) -> dict[str, str | int]:
    return {f"relay.{name}": value for name, value in facts.items() if value is not None}
