"""OpenTelemetry traces: one for each transcription, from the caller's request to the deliveries.

Spans are exported if the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set. Otherwise the no-op
tracer still passes on the caller's trace context, a W3C `traceparent`.
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
NANOS = 1_000_000  # per millisecond


def sane_traceparent(given: str | None) -> str | None:
    """Return the header if it is well-formed, else None. The W3C requires to ignore malformed headers."""
    return given if given and TRACEPARENT.fullmatch(given) else None


def traceparent_of(span: Span) -> str | None:
    """Return the `traceparent` of calls made within the span. None if there is no trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def attributes(**facts: Fact) -> dict[str, str | int]:
    """Return span attributes without None values. Pass only ids and codes, never a caller's text or URLs."""
    return {f"relay.{name}": value for name, value in facts.items() if value is not None}


class Traces:
    """Creates the spans of one process. `close` exports the remaining spans and may block on the network."""

    def __init__(self, tracer: Tracer | None = None, close: Callable[[], None] = lambda: None) -> None:
        self.tracer = tracer or NoOpTracer()
        self.close = close

    @contextmanager
    def span(self, name: str, parent: str | None, kind: SpanKind, **facts: Fact) -> Iterator[Span]:
        """Record the block as a span. `parent` is a traceparent; None starts a new trace."""
        with self.tracer.start_as_current_span(
            name,
            _context(parent),
            kind=kind,
            attributes=attributes(**facts),
            record_exception=False,  # the message may contain private data
            set_status_on_exception=False,
        ) as span:
            try:
                with _logged_with(span):
                    yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def record(self, name: str, parent: str | None, from_ms: int, to_ms: int, **facts: Fact) -> None:
        """Record a past span from its start and end in ms."""
        span = self.tracer.start_span(
            name, _context(parent), attributes=attributes(**facts), start_time=from_ms * NANOS
        )
        span.end(to_ms * NANOS)


def open_traces(endpoint: str, service_name: str) -> Traces:
    """Export spans to `endpoint` (OTLP over HTTP), or none if it is empty. The caller calls `close`."""
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
