"""One trace from the caller's request through Soniox's webhook to the receiver."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service.tracing import Traces, sane_traceparent
from tests.support.relay_app import AUDIO, MODEL, RelayApp

pytestmark = pytest.mark.one_database  # spans and headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
JOB = {"model": MODEL, "audio_url": AUDIO}


async def submit(relay_app: RelayApp, **headers: str) -> str:
    callback = {"webhook_url": f"{relay_app.receiver_url}/mine"}
    answer = await relay_app.client.post("/v1/transcriptions", json={**JOB, **callback}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def received_traceparents(relay_app: RelayApp) -> list[str | None]:
    await relay_app.until_received("/events")
    await relay_app.until_received("/mine")
    calls = [*relay_app.receiver.at("/events"), *relay_app.receiver.at("/mine")]
    return [call.headers.get("traceparent") for call in calls]


def traced(relay_app: RelayApp) -> InMemorySpanExporter:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    relay_app.relay.tracing.tracer = provider.get_tracer("test")
    return spans


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}" if span.context else ""


async def test_all_spans_of_a_transcription_belong_to_the_callers_trace(relay_app: RelayApp) -> None:
    spans = traced(relay_app)
    await relay_app.add_endpoint()
    job = await submit(relay_app, traceparent=TRACEPARENT)
    await relay_app.finished(job)
    told = await received_traceparents(relay_app)

    async def are_there() -> bool:
        return sum(span.name == "deliver" for span in spans.get_finished_spans()) == 2

    await relay_app.until(are_there)
    found = spans.get_finished_spans()
    names = [span.name for span in found]
    assert {trace_of(span) for span in found} == {TRACE}
    # Soniox is so quick here that its webhook may be earlier than our note of when it began
    assert set(names) - {"transcribe"} == {"submit", "create at soniox", "webhook", "collect", "deliver"}
    ids = {f"{span.context.span_id:016x}": span.name for span in found if span.context}
    assert [ids[(header or "").split("-")[2]] for header in told] == ["deliver", "deliver"]
    root = next(span for span in found if span.name == "submit")
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert all((span.attributes or {}).get("relay.job_id") == job for span in found)


async def test_a_transcription_without_a_caller_who_traces_has_a_trace_of_its_own(relay_app: RelayApp) -> None:
    spans = traced(relay_app)
    await relay_app.add_endpoint()
    await relay_app.finished(await submit(relay_app))
    told = await received_traceparents(relay_app)
    [trace] = {(header or "").split("-")[1] for header in told}
    assert trace in {trace_of(span) for span in spans.get_finished_spans()}


async def test_without_the_extra_the_callers_traceparent_reaches_the_receivers_as_it_came(
    relay_app: RelayApp,
) -> None:
    await relay_app.add_endpoint()
    await relay_app.finished(await submit(relay_app, traceparent=TRACEPARENT))
    assert await received_traceparents(relay_app) == [TRACEPARENT, TRACEPARENT]


NO_TRACE, NO_SPAN = f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01"


@pytest.mark.parametrize("given", ["", "garbage", NO_TRACE, NO_SPAN, f"{TRACEPARENT}-x", TRACEPARENT.upper()])
async def test_what_is_no_traceparent_is_passed_over(given: str) -> None:
    assert sane_traceparent(given) is None


async def test_nobody_is_told_of_a_trace_that_nobody_began(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint()
    await relay_app.finished(await submit(relay_app))
    assert await received_traceparents(relay_app) == [None, None]


def test_a_failed_block_leaves_no_words_in_its_span() -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with (
        pytest.raises(ValueError, match="secret"),
        Traces(provider.get_tracer("test")).span("step", None, SpanKind.CLIENT),
    ):
        raise ValueError("a secret word")
    [span] = spans.get_finished_spans()
    assert "secret" not in span.to_json()
