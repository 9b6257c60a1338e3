"""What one would write instead of the relay: the baselines of the benchmarks, each as its author would.

`python -m bench.naive VARIANT PORT` serves one of them by uvicorn as it comes, on the quick event loop and parser.
It has no access log, and the settings of the garbage collector that the relay has and few know of.
"""

import hmac
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import httpx
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import Engine, event
from sqlmodel import Field, Session, SQLModel, create_engine
from starlette.requests import Request
from starlette.responses import Response

from service.app import settle_memory

SECRET = "bench-secret-of-the-naive-handler"  # noqa: S105  # a benchmark's own
HEADER = "X-Soniox-Webhook-Secret"


class Notice(BaseModel):
    """What Soniox sends."""

    id: str
    status: str


class Order(BaseModel):
    """What a caller submits."""

    model: str
    audio_url: str
    client_reference_id: str | None = None


class Received(SQLModel, table=True):
    """A stored webhook."""

    number: int | None = Field(default=None, primary_key=True)
    soniox_id: str = Field(index=True)
    status: str


class Submitted(SQLModel, table=True):
    """A stored job."""

    id: str = Field(primary_key=True)
    model: str
    audio_url: str
    client_reference_id: str | None = None
    soniox_id: str | None = None


def plain(app: FastAPI) -> None:
    """The leanest route the framework has: header, body, JSON, answer. No database."""

    async def receive(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), SECRET.encode()):
            return Response(status_code=401)
        notice = json.loads(await request.body())
        assert notice["id"]
        return Response(b'{"received":true}', media_type="application/json")

    app.add_route("/webhooks/soniox", receive, methods=["POST"])


def typed(app: FastAPI) -> None:
    """The route of the tutorial: a pydantic body and a header parameter. No database."""

    @app.post("/webhooks/soniox")
    async def receive(notice: Notice, secret: Annotated[str, Header(alias=HEADER)]) -> dict[str, bool]:
        _check(secret)
        return {"received": bool(notice.id)}


def stored(app: FastAPI) -> None:
    """The handler most people write: a SQLModel session for each request."""
    session = _sessions()

    @app.post("/webhooks/soniox")
    def receive(
        notice: Notice,
        secret: Annotated[str, Header(alias=HEADER)],
        session: Annotated[Session, Depends(session)],
    ) -> dict[str, bool]:
        _check(secret)
        session.add(Received(soniox_id=notice.id, status=notice.status))
        session.commit()
        return {"received": True}


def submitting(app: FastAPI) -> None:
    """A submission as most write it: store a row, call Soniox, store its id."""
    session = _sessions()
    soniox = httpx.Client(base_url=os.environ["SONIOX_API_BASE_URL"])

    @app.post("/v1/transcriptions", status_code=201)
    def submit(order: Order, session: Annotated[Session, Depends(session)]) -> Submitted:
        job = Submitted(id=str(uuid4()), **order.model_dump())
        session.add(job)
        session.commit()
        answer = soniox.post("/v1/transcriptions", json=order.model_dump())
        answer.raise_for_status()
        job.soniox_id = str(uuid4())
        session.add(job)
        session.commit()
        session.refresh(job)
        return job


def noting(app: FastAPI) -> None:
    """Half of a submission: only the row."""
    session = _sessions()

    @app.post("/v1/transcriptions", status_code=201)
    def submit(order: Order, session: Annotated[Session, Depends(session)]) -> Submitted:
        job = Submitted(id=str(uuid4()), **order.model_dump())
        session.add(job)
        session.commit()
        session.refresh(job)
        return job


VARIANTS = {build.__name__: build for build in (plain, typed, stored, submitting, noting)}


def _check(secret: str) -> None:
    if not hmac.compare_digest(secret.encode(), SECRET.encode()):
        raise HTTPException(401)


def _sessions() -> Any:
    engine = _engine(os.environ["DATABASE_URL"])
    SQLModel.metadata.create_all(engine)

    def session() -> Iterator[Session]:
        with Session(engine) as opened:
            yield opened

    return session


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _as_durable_as_the_relay(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    return engine


@asynccontextmanager
async def _settled(_app: FastAPI) -> AsyncIterator[None]:
    settle_memory()
    yield


if __name__ == "__main__":
    if sys.argv[1] not in VARIANTS:
        raise SystemExit(f"one of {', '.join(VARIANTS)}")
    app = FastAPI(lifespan=_settled)
    VARIANTS[sys.argv[1]](app)
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="error")
