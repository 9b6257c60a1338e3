"""Traces (OpenTelemetry): one for each transcription, from the caller's request to its receivers.

Spans are recorded and sent when the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set. Without them
OpenTelemetry's no-op tracer keeps the caller's trace context, a W3C `traceparent`, and passes it on all the same.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = structlog.get_logger(__name__)

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Fact = str | int | None
NANOS = 1_000_000  # of a millisecond


def sane_traceparent(given: str | None) -> str | None:
    """The header if it is well-formed; anything else is ignored, as the W3C asks."""
    return given if given and TRACEPARENT.fullmatch(given) else None


def traceparent_of(span: Span) -> str | None:
    """What calls made within the span carry; None when there is no trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def attributes(**facts: Fact) -> dict[str, str | int]:
    """Attributes of a span: ids and codes, never text or addresses of the caller's."""
    return {f"relay.{name}": value for name, value in facts.items() if value is not None}


class Traces:
    """Makes the spans of one process. `close` sends what is left; it may wait for the network."""

    def __init__(self, tracer: Tracer | None = None, close: Callable[[], None] = lambda: None) -> None:
        self.tracer = tracer or NoOpTracer()
        self.close = close

    @contextmanager
    def span(self, name: str, parent: str | None, kind: SpanKind, **facts: Fact) -> Iterator[Span]:
        """A span of what is done in the block. `parent` is the traceparent it belongs to; None begins a trace."""
        with self.tracer.start_as_current_span(
            name,
            _context(parent),
            kind=kind,
            attributes=attributes(**facts),
            record_exception=False,  # what an exception says may hold what must not leave
            set_status_on_exception=False,
        ) as span:
            try:
                with _logged_with(span):
                    yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def record(self, name: str, parent: str | None, from_ms: int, to_ms: int, **facts: Fact) -> None:
        """A span of what went on between two moments."""
        span = self.tracer.start_span(
            name, _context(parent), attributes=attributes(**facts), start_time=from_ms * NANOS
        )
        span.end(to_ms * NANOS)


def open_traces(endpoint: str, service_name: str) -> Traces:
    """Spans go to `endpoint` (OTLP over HTTP); to the empty one none. The caller closes them."""
    if not endpoint:
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("tracing_disabled", reason="install the extra: pip install 'soniox-relay[otel]'")
        return Traces()
    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")))
    return Traces(provider.get_tracer("soniox-relay"), provider.shutdown)


@contextmanager
def _logged_with(span: Span) -> Iterator[None]:
    context = span.get_span_context()
    if not context.is_valid:
        yield
        return
    with structlog.contextvars.bound_contextvars(trace_id=f"{context.trace_id:032x}"):
        yield


def _context(parent: str | None) -> Context:
    carrier = {"traceparent": parent} if parent else {}
    return TraceContextTextMapPropagator().extract(carrier, Context())
