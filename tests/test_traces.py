"""One trace from the caller's request through Soniox's webhook to the receiver."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.traces import Traces, sane_traceparent
from tests.support.house import AUDIO, MODEL, House

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
JOB = {"model": MODEL, "audio_url": AUDIO}


async def submit(house: House, **headers: str) -> str:
    callback = {"webhook_url": f"{house.receiver_url}/mine"}
    answer = await house.client.post("/v1/transcriptions", json={**JOB, **callback}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def received_traceparents(house: House) -> list[str | None]:
    await house.until_received("/events")
    await house.until_received("/mine")
    calls = [*house.receiver.at("/events"), *house.receiver.at("/mine")]
    return [call.headers.get("traceparent") for call in calls]


def traced(house: House) -> InMemorySpanExporter:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    house.relay.traces.tracer = provider.get_tracer("test")
    return spans


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}" if span.context else ""


async def test_all_spans_of_a_transcription_belong_to_the_callers_trace(house: House) -> None:
    spans = traced(house)
    await house.add_endpoint()
    job = await submit(house, traceparent=TRACEPARENT)
    await house.finished(job)
    told = await received_traceparents(house)

    async def are_there() -> bool:
        return sum(span.name == "deliver" for span in spans.get_finished_spans()) == 2

    await house.until(are_there)
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


async def test_a_transcription_without_a_caller_who_traces_has_a_trace_of_its_own(house: House) -> None:
    spans = traced(house)
    await house.add_endpoint()
    await house.finished(await submit(house))
    told = await received_traceparents(house)
    [trace] = {(header or "").split("-")[1] for header in told}
    assert trace in {trace_of(span) for span in spans.get_finished_spans()}


async def test_without_the_extra_the_callers_traceparent_reaches_the_receivers_as_it_came(house: House) -> None:
    await house.add_endpoint()
    await house.finished(await submit(house, traceparent=TRACEPARENT))
    assert await received_traceparents(house) == [TRACEPARENT, TRACEPARENT]


NO_TRACE, NO_SPAN = f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01"


@pytest.mark.parametrize("given", ["", "garbage", NO_TRACE, NO_SPAN, f"{TRACEPARENT}-x", TRACEPARENT.upper()])
async def test_what_is_no_traceparent_is_passed_over(given: str) -> None:
    assert sane_traceparent(given) is None


async def test_nobody_is_told_of_a_trace_that_nobody_began(house: House) -> None:
    await house.add_endpoint()
    await house.finished(await submit(house))
    assert await received_traceparents(house) == [None, None]


def test_a_failed_block_leaves_no_words_in_its_span() -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with (
        pytest.raises(ValueError, match="secret"),
        Traces(provider.get_tracer("test")).span("step", None, "client"),
    ):
        raise ValueError("a secret word")
    [span] = spans.get_finished_spans()
    assert "secret" not in span.to_json()
