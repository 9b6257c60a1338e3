"""/ui/jobs: the list of jobs with filters, a lookup by id, and bulk retry and delete."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from service.api.deps import RelayDep
from service.api.pagination import MomentParameter, Text, decode_cursor
from service.dashboard.render import OptionalText, first_page, page_after, render
from service.dashboard.session import FormOfSubmitter, ReaderSession, redirect_back
from service.errors import CallerError, InvalidRequestError
from service.ids import is_uuid
from service.lifecycle import SonioxStatus, Stage
from service.relay import Relay
from service.services.keys import Caller
from service.services.transcriptions import delete_transcription, get_owned_transcription, retry_transcription
from service.store import deliveries, transcription_queries, transcriptions, transcripts
from service.store.transcription_queries import Page, TranscriptionFilter
from service.tables import Transcription

router = APIRouter()

ROWS = 50
MAX_SELECTED = 8  # concurrent operations of one bulk action


class JobsQuery(BaseModel):
    """The filters in the query string."""

    status: Annotated[SonioxStatus | None, OptionalText] = None
    stage: Annotated[Stage | None, OptionalText] = None
    reference: Annotated[Text, Field(max_length=256)] = ""
    after: Annotated[MomentParameter | None, OptionalText] = None
    before: Annotated[MomentParameter | None, OptionalText] = None
    cursor: str = ""

    def wanted(self, caller: Caller) -> TranscriptionFilter:
        """Return the filter for the store, limited to the rows that `caller` may see."""
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
    request: Request, relay: RelayDep, visitor: ReaderSession, asked: Annotated[JobsQuery, Query()]
) -> Response:
    page = Page(ROWS, decode_cursor(asked.cursor))

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
async def find(
    relay: RelayDep, visitor: ReaderSession, q: Annotated[Text, Query(max_length=256)] = ""
) -> Response:
    """Redirect to the job with this id or Soniox id. Other input is used as a client_reference_id filter."""
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
async def apply_to_selected(request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    deed, done_word = _apply(relay, post.get("action"))
    ids = post.all("id")[:ROWS]
    turns = asyncio.Semaphore(MAX_SELECTED)

    async def do(job_id: str) -> bool:
        async with turns:
            try:
                await deed(await get_owned_transcription(relay, job_id, post.visitor.caller))
            except CallerError:
                return False
            return True

    done = sum(await asyncio.gather(*map(do, ids)))
    refused = len(ids) - done
    message = f"{done_word} {done} {'job' if done == 1 else 'jobs'}."
    if refused:
        message += f" {refused} could not be: only failed jobs are retried, and some may be gone."
    return redirect_back(request, _list_url(post.get("query")), message, good=bool(done))


def _apply(relay: Relay, action: str) -> tuple[Callable[[Transcription], Awaitable[object]], str]:
    match action:
        case "retry":
            return lambda job: retry_transcription(relay, job), "Retried"
        case "delete":
            return lambda job: delete_transcription(relay, job), "Deleted"
        case _:
            raise InvalidRequestError("Choose what to do with the jobs.")


def _known_to_soniox_as(session: Session, soniox_id: str, caller: Caller) -> Transcription | None:
    job = transcriptions.with_soniox_id(session, soniox_id)
    return job if job is not None and caller.sees in {None, job.owner} else None


def _list_url(query: str) -> str:
    return f"/ui/jobs?{query}" if query else "/ui/jobs"
