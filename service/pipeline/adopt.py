"""Adopt: take in a transcription that the relay did not create but whose webhook carried the master secret."""

from typing import Any
from urllib.parse import urlsplit

from sqlmodel import Session

from service.ids import new_uuid
from service.lifecycle import Stage
from service.relay import Relay
from service.soniox import RemoteTranscription
from service.store import transcription_queries, transcriptions
from service.tables import TimelineEntry, Transcription

OWNER = "adopted"  # no key has this id: only admin keys see what was adopted


async def adopted(relay: Relay, remote: RemoteTranscription) -> Transcription | None:
    """A new row in stage submitted, or the one another row of the inbox made meanwhile."""
    job = _row(relay, remote)

    def adopt(session: Session) -> Transcription | None:
        present = transcriptions.with_soniox_id(session, remote.id)
        if present is None and remote.job():
            present = transcriptions.get(session, remote.job(), None)
        if present is None:
            transcriptions.accept(session, [job])
            entry = TimelineEntry(
                transcription_id=job.id, at_ms=job.created_at_ms, step="adopted", source="webhook"
            )
            transcription_queries.add_timeline_entries(session, entry)
        return present or job

    return await relay.db.write(adopt)


def _row(relay: Relay, remote: RemoteTranscription) -> Transcription:
    now_ms = relay.clock()
    request: dict[str, Any] = {"model": remote.model}
    request |= {name: value for name in ("audio_url", "file_id") if (value := getattr(remote, name))}
    name = remote.filename or urlsplit(remote.audio_url or "").path.rsplit("/", 1)[-1]
    return Transcription(
        id=new_uuid(now_ms),
        owner=OWNER,
        stage=Stage.SUBMITTED,
        created_at_ms=now_ms,
        submitted_at_ms=now_ms,
        check_at_ms=now_ms + int(relay.settings.relay_reconcile_grace_s * 1000),
        request=request,
        client_reference_id=remote.client_reference_id,
        filename=name or "audio",
        model=remote.model,
        soniox_id=remote.id,
        soniox_status=remote.status,
        adopted=True,
    )
