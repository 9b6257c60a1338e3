"""A day in the life of a relay, for pictures: real jobs by the real path, with their times spread over a day."""

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session
from starlette.responses import Response

from tests.support.receiver import Received
from tests.support.relay_app import RelayApp
from tests.support.transcripts import put
from tests.ui.conversation import conversation

JOBS = 300
DAY_MS = 24 * 3600 * 1000
NAMES = ("support-call", "interview", "board-meeting", "lecture", "sales-demo", "podcast", "hearing", "stand-up")
FAILURES = ("outcome=error:invalid_audio_file", "outcome=error:audio_too_long")


@dataclass(frozen=True)
class Sights:
    """What is worth a picture of its own: ids."""

    job: str
    talk: str
    endpoint: str
    delivery: str


async def fill(relay_app: RelayApp) -> Sights:
    """Make a day of work."""
    dice = random.Random(7)
    relay_app.receiver.answer = answer_like_a_receiver
    await relay_app.add_endpoint("/billing", description="Billing", event_types=["transcription.completed"])
    await relay_app.add_endpoint("/crm", description="CRM, with the text", include="text")
    archive = await relay_app.add_endpoint("/archive-down", description="Archive, often down")
    for name in ("call centre", "web shop", "analyst"):
        await relay_app.client.post("/v1/keys", json={"name": name, "scopes": ["submit", "read"]})
    shown = await submit(relay_app, dice, "tokens=900,speakers=3")
    ids = [await submit(relay_app, dice, script_for(dice)) for _ in range(JOBS)]
    for transcription_id in ids:
        await relay_app.finished(transcription_id, 40)
    await relay_app.until(lambda: all_are_delivered_or_given_up(relay_app), within_s=60)
    await spread(relay_app, dice, ids)
    recording = {"audio_url": "https://media.example.com/council-14.mp3", "enable_speaker_diarization": True}
    talk = await put(relay_app.relay, conversation(dice), filename="council-14.mp3", request=recording)
    await leave_some_open(relay_app, dice)
    tried = {"endpoint_id": archive["id"], "status": "exhausted"}
    given_up = (await relay_app.client.get("/v1/deliveries", params=tried)).json()["deliveries"]
    return Sights(shown, talk, archive["id"], given_up[0]["id"])


async def all_are_delivered_or_given_up(relay_app: RelayApp) -> bool:
    """No delivery is under way, or due later."""
    pending = await relay_app.client.get("/v1/deliveries", params={"status": "pending"})
    return not pending.json()["deliveries"]


def script_for(dice: random.Random) -> str:
    """Mostly good; now and then something fails."""
    fate = dice.random()
    return (
        dice.choice(FAILURES) if fate < 0.02 else f"tokens={dice.randint(20, 400)},speakers={dice.randint(1, 3)}"
    )


async def submit(relay_app: RelayApp, dice: random.Random, script: str) -> str:
    """One job with a name that could be real."""
    name = f"{dice.choice(NAMES)}-{dice.randint(100, 999)}.mp3"
    fields: dict[str, Any] = {
        "audio_url": f"https://sandbox.invalid/{script.replace(',', '/')}/{name}",
        "enable_speaker_diarization": True,
        "enable_language_identification": True,
        "client_reference_id": f"ticket-{dice.randint(10_000, 99_999)}",
        "metadata": {"customer": f"C-{dice.randint(100, 999)}"},
    }
    job = await relay_app.submit(**fields)
    return str(job["id"])


def answer_like_a_receiver(request: Received) -> Response:
    """One of them is often down."""
    is_down = request.path == "/archive-down" and int(request.headers["webhook-id"][-2:], 16) % 6 == 0
    return Response("upstream is restarting" if is_down else "", 503 if is_down else 200)


async def spread(relay_app: RelayApp, dice: random.Random, ids: list[str]) -> None:
    """Move each job and what belongs to it back in time; busier in the middle of the day."""
    now_ms = relay_app.relay.clock()

    def move(session: Session) -> None:
        for transcription_id in ids:
            back_ms = int(DAY_MS * min(0.98, max(0.004, dice.betavariate(1.6, 1.8))))
            slower_ms = int(dice.lognormvariate(9.6, 0.7))
            by_reconciler = dice.random() < (0.25 if 0.45 < back_ms / DAY_MS < 0.52 else 0.01)
            shift(session, transcription_id, back_ms, slower_ms, by_reconciler=by_reconciler)

    await relay_app.relay.db.write(move)
    assert relay_app.relay.clock() >= now_ms


def shift(session: Session, transcription_id: str, back_ms: int, slower_ms: int, *, by_reconciler: bool) -> None:
    """Move one by `back_ms`, and have it taken `slower_ms` more."""
    values = {"id": transcription_id, "back": back_ms, "slow": slower_ms}
    for statement in (
        "UPDATE transcriptions SET created_at_ms = created_at_ms - :back - :slow,"
        " submitted_at_ms = submitted_at_ms - :back - :slow + 180, finished_at_ms = finished_at_ms - :back"
        " WHERE id = :id",
        "UPDATE timeline SET at_ms = at_ms - :back -"
        " CASE WHEN step IN ('accepted', 'submitted') THEN :slow ELSE 0 END WHERE transcription_id = :id",
        "UPDATE webhooks SET received_at_ms = received_at_ms - :back, last_seen_at_ms = last_seen_at_ms - :back,"
        " handled_at_ms = handled_at_ms - :back WHERE job = :id",
        "UPDATE events SET created_at_ms = created_at_ms - :back WHERE transcription_id = :id",
        "UPDATE attempts SET at_ms = at_ms - :back WHERE delivery_id IN"
        " (SELECT deliveries.id FROM deliveries WHERE transcription_id = :id)",
        "UPDATE deliveries SET created_at_ms = created_at_ms - :back, delivered_at_ms = delivered_at_ms - :back"
        " WHERE transcription_id = :id",
    ):
        session.execute(text(statement), values)
    if by_reconciler:
        session.execute(text("UPDATE transcriptions SET learned_from = 'reconciler' WHERE id = :id"), values)
        session.execute(text("UPDATE webhooks SET source = 'reconciler' WHERE job = :id"), values)


async def leave_some_open(relay_app: RelayApp, dice: random.Random) -> None:
    """So that the flow has something in it."""
    await relay_app.faults(duplicate_webhook={"probability": 0.5})
    for _ in range(6):
        await submit(relay_app, dice, f"processing_ms={dice.randint(40_000, 90_000)}")
    await relay_app.client.post("/webhooks/soniox?job=somebody", json={"id": "x", "status": "completed"})
    for _ in range(4):
        job = await submit(relay_app, dice, "tokens=60,speakers=2")
        await relay_app.finished(job)
