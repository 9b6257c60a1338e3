"""/ui/jobs: all jobs, filtered and found; many of them retried or deleted at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from service.api.auth import Caller, RelayOf
from service.api.cursors import decode
from service.api.listing import Moment, Text
from service.api.transcriptions import owned
from service.dashboard.links import Blank, first_page, page_after
from service.dashboard.posts import Submitted, back
from service.dashboard.render import render
from service.dashboard.visitors import Reader
from service.errors import CallerError, InvalidRequest
from service.ids import is_uuid
from service.lifecycle import SonioxStatus, Stage
from service.relay import Relay
from service.services.transcriptions import delete_transcription, retry_transcription
from service.store import deliveries, transcription_queries, transcriptions, transcripts
from service.store.transcription_queries import Page, TranscriptionFilter
from service.tables import Transcription

router = APIRouter()

ROWS = 50
AT_ONCE = 8  # deeds of one bulk order


class Asked(BaseModel):
    """The filters, as they stand in the address."""

    status: Annotated[SonioxStatus | None, Blank] = None
    stage: Annotated[Stage | None, Blank] = None
    reference: Annotated[Text, Field(max_length=256)] = ""
    after: Annotated[Moment | None, Blank] = None
    before: Annotated[Moment | None, Blank] = None
    cursor: str = ""

    def wanted(self, caller: Caller) -> TranscriptionFilter:
        """What the store looks for, and what this caller may see at all."""
        return TranscriptionFilter(
            owner=caller.sees,
            statuses=(self.status,) if self.status else (),
            stages=(self.stage,) if self.stage else (),
            client_reference_id=self.reference or None,
            created_after_ms=self.after,
            created_before_ms=self.before,
        )


@router.get("/jobs")
async def list_page(
    request: Request, relay: RelayOf, visitor: Reader, asked: Annotated[Asked, Query()]
) -> Response:
    page = Page(ROWS, decode(asked.cursor))

    def query(session: Session) -> tuple[list[Transcription], dict[str, Any], dict[str, list[str]]]:
        found = transcription_queries.page(session, asked.wanted(visitor.caller), page)
        ids = [job.id for job in found[:ROWS]]
        return found, transcripts.summaries(session, ids), deliveries.statuses_of(session, ids)

    found, summaries, sent = await relay.db.read(query)
    here = found[:ROWS]
    return render(
        request,
        "jobs.html",
        jobs=here,
        summaries=summaries,
        sent=sent,
        asked=asked,
        stages=list(Stage),
        base_url=relay.settings.base_url,
        query=request.url.query,
        first=first_page(request),
        older=page_after(request, here[-1]) if len(found) > ROWS else "",
    )


@router.get("/jobs/find")
async def find(relay: RelayOf, visitor: Reader, q: Annotated[Text, Query(max_length=256)] = "") -> Response:
    """A job by its id here or at Soniox; anything else is taken for a client_reference_id."""
    sought = q.strip()
    if is_uuid(sought):
        job = await relay.db.read(
            lambda session: (
                transcriptions.get(session, sought.lower(), visitor.caller.sees)
                or _known_to_soniox_as(session, sought.lower(), visitor.caller)
            )
        )
        if job is not None:
            return RedirectResponse(f"/ui/jobs/{job.id}", 303)
    return RedirectResponse(f"/ui/jobs?{urlencode({'reference': sought})}" if sought else "/ui/jobs", 303)


@router.post("/jobs")
async def do_many(request: Request, relay: RelayOf, post: Submitted) -> Response:
    deed, done_word = _deed(relay, post.get("action"))
    ids = post.all("id")[:ROWS]
    turns = asyncio.Semaphore(AT_ONCE)

    async def do(job_id: str) -> bool:
        async with turns:
            try:
                await deed(await owned(relay, job_id, post.visitor.caller))
            except CallerError:
                return False
            return True

    done = sum(await asyncio.gather(*map(do, ids)))
    refused = len(ids) - done
    message = f"{done_word} {done} {'job' if done == 1 else 'jobs'}."
    if refused:
        message += f" {refused} could not be: only failed jobs are retried, and some may be gone."
    return back(request, _list_url(post.get("query")), message, good=bool(done))


def _deed(relay: Relay, action: str) -> tuple[Callable[[Transcription], Awaitable[object]], str]:
    match action:
        case "retry":
            return lambda job: retry_transcription(relay, job), "Retried"
        case "delete":
            return lambda job: delete_transcription(relay, job), "Deleted"
        case _:
            raise InvalidRequest("Choose what to do with the jobs.")


def _known_to_soniox_as(session: Session, soniox_id: str, caller: Caller) -> Transcription | None:
    job = transcriptions.with_soniox_id(session, soniox_id)
    return job if job is not None and caller.sees in {None, job.owner} else None


def _list_url(query: str) -> str:
    return f"/ui/jobs?{query}" if query else "/ui/jobs"
