"""The rules of the stateful test: what callers, workers, Soniox, strangers and receivers may do, in any order."""

import asyncio
import contextlib
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from service.errors import InvalidStateError, SonioxError
from service.ids import new_id, new_uuid
from service.lifecycle import DeliveryStatus, Stage
from service.reconcile.scheduler import run_when_due
from service.reconcile.sweep import sweep
from service.sandbox.tokens import scripted
from service.services.transcriptions import (
    CreateRequest,
    create_transcription,
    delete_transcription,
    retry_transcription,
)
from service.store import deliveries, endpoints, files
from service.tables import Delivery, Event, File, FileChunk, Recovery, Removal, Transcription, Webhook
from service.worker import LEASE_MS
from tests.support.relay_app import MODEL, Neighbours
from tests.support.simulation.harness import (
    BEGINNING_MS,
    ENDPOINTS,
    GRACE_S,
    OWNER,
    Simulation,
    open_simulation,
)
from tests.support.simulation.model import RESULTS, Model
from tests.support.simulation.process import Fuse, Ticking

QUEUES = ("submit", "collect", "deliver", "cleanup", "recover")
AUDIOS = ("tokens=3", "tokens=3", "outcome=empty", "outcome=error:invalid_audio_file", "stuck", "vanish")
PAUSES_MS = (1_500, 7_000, LEASE_MS + 3_000, int(GRACE_S * 1000) + 2_000, 25 * 3_600_000)
TOLD_TO_ALL = (*RESULTS, "transcription.deleted")  # an endpoint does not hear that it was itself disabled
CREATE, UPLOAD = "POST /v1/transcriptions", "POST /v1/files"
NO_ROOM = "Total pending transcriptions limit reached"
FAULTS: dict[str, dict[str, Any]] = {
    "create answer cut": {"lose_answer": {"match": CREATE, "remaining": 1}},
    "create answer 502": {"lose_answer": {"match": CREATE, "remaining": 2, "how": "status", "status": 502}},
    "upload answer cut": {"lose_answer": {"match": UPLOAD, "remaining": 1}},
    "delete answer cut": {"lose_answer": {"match": "DELETE *", "remaining": 4}},
    "create refused": {"refuse": {"status": 400, "remaining": 1, "match": CREATE}},
    "reset": {"reset": {"remaining": 1}},
    "500": {"refuse": {"status": 500, "remaining": 1}},
    "503 for a while": {"refuse": {"status": 503, "remaining": 5}},
    "rate": {"refuse": {"status": 429, "remaining": 1, "retry_after": "4"}},
    "rate for unknown time": {"refuse": {"status": 429, "remaining": 2}},
    "room": {"refuse": {"status": 429, "remaining": 1, "match": CREATE, "message": NO_ROOM}},
    "key": {"refuse": {"status": 401, "remaining": 2}},
    "truncated": {"truncate": {"remaining": 1}},
    "truncated for a while": {"truncate": {"remaining": 4}},
}

some = st.integers(0, 11)
few = st.integers(1, 3)
breaks = st.builds(
    Fuse,
    at=st.integers(1, 5),
    when=st.sampled_from(["after", "before"]),
    how=st.sampled_from(["stop", "die"]),
)
fuses = st.none() | breaks


@dataclass
class Ground:
    """What all examples stand on."""

    runner: asyncio.Runner
    neighbours: Neighbours
    clock: Ticking
    new_database: Callable[[], str]
    counts: Counter[str]


class Lifecycle(RuleBasedStateMachine):
    """One example: a fresh database, and whatever happens to it."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground = ground
        ground.clock.now_ms = BEGINNING_MS
        self.opening: AbstractAsyncContextManager[Simulation] = open_simulation(
            ground.neighbours, ground.new_database(), ground.clock
        )
        self.simulation: Simulation = ground.runner.run(self.opening.__aenter__())
        self.model = Model()

    def run(self, call: Any) -> Any:
        return self.ground.runner.run(call)

    def jobs(self) -> list[Transcription]:
        return sorted(self.run(self.simulation.rows(Transcription)), key=lambda job: job.id)

    def step(self, call: Any, fuse: Fuse | None = None) -> str:
        """Let the process do something that is not a queue's work."""
        end: str = self.run(self.simulation.run(call, fuse))
        self.run(self.simulation.soniox_is_idle())
        return end

    # the caller

    @initialize(audios=st.lists(st.sampled_from(AUDIOS), min_size=2, max_size=5), files=st.booleans())
    def begin_with_a_few(self, audios: list[str], files: bool) -> None:
        for audio in audios:
            self.submit(audio, "file" if files else "url", None, 1)

    @rule(audio=st.sampled_from(AUDIOS), way=st.sampled_from(["url", "file", "kept file"]), fuse=fuses, back=some)
    def submit(self, audio: str, way: str, fuse: Fuse | None, back: int) -> None:
        callback = self.simulation.neighbours.receiver_url + "/callback" if back % 4 == 0 else None
        self.step(self._submit(audio, way, callback), fuse)

    async def _submit(self, audio: str, way: str, callback: str | None) -> None:
        relay = self.simulation.process.relay
        request: dict[str, Any] = {"model": MODEL}
        order = CreateRequest(OWNER, OWNER, request, audio, callback_url=callback)
        if way == "url":
            request["audio_url"] = f"https://sandbox.invalid/{audio}"
        else:
            file = await self._keep_file(f"{audio}.wav", part_of_it=way == "file")
            order = replace(order, file=file if way == "file" else None, file_digest="00")
            request |= {"file_id": file.id} if way == "kept file" else {}
        await create_transcription(relay, order)

    async def _keep_file(self, name: str, *, part_of_it: bool) -> File:
        now_ms = self.simulation.clock()
        fields: dict[str, Any] = {"owner": OWNER, "filename": name, "size": 4, "created_at_ms": now_ms}
        file = File(id=new_uuid(now_ms), complete=not part_of_it, **fields)
        chunk = FileChunk(file_id=file.id, position=0, data=b"RIFF")
        await self.simulation.db.write(lambda session: files.begin(session, file))
        await self.simulation.db.write(lambda session: files.add_chunk(session, chunk))
        return file

    @precondition(lambda self: self.model.lives)
    @rule(which=some, fuse=fuses)
    def delete(self, which: int, fuse: Fuse | None) -> None:
        jobs = self.jobs()
        if not jobs:
            return
        job = jobs[which % len(jobs)]
        self.model.lives[job.id].may_go = True
        end = self.step(self._delete(job), fuse)
        if end == "done":
            assert job.id not in {left.id for left in self.jobs()}

    async def _delete(self, job: Transcription) -> None:
        await delete_transcription(self.simulation.process.relay, job)

    @precondition(lambda self: any(life.stage == Stage.FAILED for life in self.model.lives.values()))
    @rule(which=some, fuse=fuses, twice=st.booleans())
    def try_again(self, which: int, fuse: Fuse | None, twice: bool) -> None:
        """Two requests that have read the same row: one of them comes too late."""
        failed = [job for job in self.jobs() if job.stage == Stage.FAILED]
        if not failed:
            return
        job = failed[which % len(failed)]
        self.model.lives[job.id].retries_asked += 1
        end = self.step(retry_transcription(self.simulation.process.relay, job), fuse)
        if twice and end == "done":
            with pytest.raises(InvalidStateError):
                self.run(retry_transcription(self.simulation.process.relay, job))

    # the workers

    @rule(queue=st.sampled_from(QUEUES), limit=few)
    def work(self, queue: str, limit: int) -> None:
        self.run(self.simulation.work(queue, limit))

    @rule(limit=few, fuse=breaks)
    def break_down_submitting(self, limit: int, fuse: Fuse) -> None:
        self.run(self.simulation.work("submit", limit, fuse))

    @rule(limit=few, fuse=breaks)
    def break_down_collecting(self, limit: int, fuse: Fuse) -> None:
        self.run(self.simulation.work("collect", limit, fuse))

    @rule(queue=st.sampled_from(["cleanup", "deliver", "recover"]), limit=few, fuse=breaks)
    def break_down_later(self, queue: str, limit: int, fuse: Fuse) -> None:
        self.run(self.simulation.work(queue, limit, fuse))

    @rule(limit=few, fuse=fuses)
    def submit_and_tell(self, limit: int, fuse: Fuse | None) -> None:
        """The usual way, so that much gets far; perhaps the collector stops half-way."""
        self.run(self.simulation.work("submit", limit))
        self.deliver(0, 1, late=False, lie=False)
        self.run(self.simulation.work("collect", limit, fuse))

    @precondition(lambda self: self.simulation.sleepers)
    @rule(which=some, kill=st.sampled_from([False, False, True]))
    def wake(self, which: int, kill: bool) -> None:
        sleeper = self.simulation.sleepers[which % len(self.simulation.sleepers)]
        self.run(self.simulation.wake(sleeper, kill=kill))
        self.run(self.simulation.soniox_is_idle())

    @rule()
    def restart(self) -> None:
        """All are killed; the new process frees all leases, as it does on SQLite."""
        for sleeper in list(self.simulation.sleepers):
            self.run(self.simulation.wake(sleeper, kill=True))
        self.simulation.start_process()
        self.run(self.simulation.end_leases())

    @rule(all_submitted=st.booleans(), times=st.integers(1, 2), fuse=fuses)
    def look_for_silent_ones(self, all_submitted: bool, times: int, fuse: Fuse | None) -> None:
        for _ in range(times):
            self.step(self._sweep(all_submitted), fuse)

    async def _sweep(self, all_submitted: bool) -> None:
        with contextlib.suppress(SonioxError):
            await sweep(self.simulation.process.relay, all_submitted=all_submitted)

    @rule(fuse=fuses)
    def reconcile(self, fuse: Fuse | None) -> None:
        """The reconciler's own tick, leaks included."""
        self.step(run_when_due(self.simulation.process.relay, self.simulation.process.rhythm), fuse)

    @rule(ms=st.sampled_from(PAUSES_MS))
    def let_time_pass(self, ms: int) -> None:
        self.simulation.clock.now_ms += ms

    # Soniox

    @rule(which=some, times=st.integers(1, 3), late=st.booleans(), lie=st.booleans())
    def deliver(self, which: int, times: int, late: bool, lie: bool) -> None:
        """A webhook of the newest or of an older one, of deleted ones too; perhaps of the opposite."""
        told = [
            job for job in self.simulation.desk.soniox.created.values() if job.status in {"completed", "error"}
        ]
        if not told:
            return
        job = told[which % len(told)] if late else told[-1]
        status = {"completed": "error", "error": "completed"}[job.status] if lie else job.status
        request = job.request
        for _ in range(times):
            url, secret = str(request.webhook_url), str(request.webhook_auth_header_value)
            job.webhook_status_code = self.run(self.simulation.post_webhook(url, secret, job.id, status))
            assert job.webhook_status_code == 200
            self.simulation.counts["webhook"] += 1

    @precondition(lambda self: self.simulation.desk.soniox.created)
    @rule(which=some, other=some, collect=st.booleans())
    def forge(self, which: int, other: int, collect: bool) -> None:
        """Who has the header of one job can speak for that job alone."""
        created = list(self.simulation.desk.soniox.created.values())[::-1]
        mine, theirs = created[which % len(created)].request, created[other % len(created)]
        is_own = mine.webhook_url == theirs.request.webhook_url
        secret, named = str(mine.webhook_auth_header_value), str(uuid.UUID(int=other)) if is_own else theirs.id
        code = self.run(self.simulation.post_webhook(str(mine.webhook_url), secret, named, "completed"))
        assert code == 200
        if not is_own:
            url = str(theirs.request.webhook_url)
            assert self.run(self.simulation.post_webhook(url, secret, theirs.id, "completed")) == 401
        if collect:
            self.work("collect", 3)

    @rule(name=st.sampled_from(sorted(FAULTS)))
    def soniox_misbehaves(self, name: str) -> None:
        self.simulation.counts["fault"] += 1
        self.simulation.faults(**FAULTS[name])

    @rule()
    def soniox_finishes_slow_ones(self) -> None:
        for job in self.simulation.living():
            if job.script.stuck:
                job.script = replace(job.script, stuck=False)
                self.simulation.desk.processing.enqueue(job)
        self.run(self.simulation.soniox_is_idle())

    # the receivers

    @rule(path=st.sampled_from([*ENDPOINTS, "/callback"]), code=st.sampled_from([500, 410, 302]), times=some)
    def receiver_refuses(self, path: str, code: int, times: int) -> None:
        self.simulation.answers[path] += [code] * (1 + times)

    @rule(path=st.sampled_from(ENDPOINTS), since_ms=st.sampled_from([0, 60_000]))
    def recover_endpoint(self, path: str, since_ms: int) -> None:
        """Its receiver works again: enable it and order what it missed."""
        self.simulation.answers[path].clear()
        self.run(self._recover(f"ep_{path[1:]}", self.simulation.clock() - since_ms if since_ms else BEGINNING_MS))

    async def _recover(self, endpoint_id: str, since_ms: int) -> None:
        now_ms = self.simulation.clock()
        order = Recovery(
            id=new_id("rcv", now_ms),
            endpoint_id=endpoint_id,
            since_ms=since_ms,
            until_ms=now_ms,
            expected=0,
            at_created_ms=since_ms - 1,
            created_at_ms=now_ms,
            due_at_ms=now_ms,
        )
        await self.simulation.db.write(lambda session: endpoints.enable(session, endpoint_id))
        await self.simulation.db.write(lambda session: deliveries.create_recovery(session, order))

    # what must hold

    @invariant()
    def nothing_happened_that_must_not(self) -> None:
        self.ground.counts["rules"] += 1
        self.model.see(self.run(self.simulation.sight()))

    @override
    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else the example has failed already, or was given up
                self.everything_ends_well()
        finally:
            self.ground.counts += self.simulation.counts
            self.run(self.opening.__aexit__(None, None, None))

    def everything_ends_well(self) -> None:
        """The storm is over: time alone must bring everything to its end."""
        self.simulation.faults()
        self.simulation.answers.clear()
        for number, sleeper in enumerate(list(self.simulation.sleepers)):
            self.run(self.simulation.wake(sleeper, kill=number % 2 == 1))
        for path in ENDPOINTS:
            self.run(self._recover(f"ep_{path[1:]}", BEGINNING_MS))
        for _ in range(60):
            self.soniox_finishes_slow_ones()
            self.reconcile(None)
            for queue in QUEUES:
                self.run(self.simulation.work(queue, 100))
            self.model.see(self.run(self.simulation.sight()))
            if not (left := self.run(self._left_over())):
                break
            self.let_time_pass(11_000)
        assert not left
        self.run(self._check_outcomes())
        self.ground.counts["examples"] += 1

    async def _left_over(self) -> list[Any]:
        due = [
            row
            for model in (Webhook, Delivery, Recovery)
            for row in await self.simulation.rows(model)
            if row.due_at_ms
        ]
        open_jobs = [
            job for job in await self.simulation.rows(Transcription) if job.stage not in {"completed", "failed"}
        ]
        at_soniox = [*self.simulation.living(), *self.simulation.desk.soniox.files.values()]
        return [*open_jobs, *due, *await self.simulation.rows(Removal), *at_soniox]

    async def _check_outcomes(self) -> None:
        for job in await self.simulation.rows(Transcription):
            script = scripted(None, job.request.get("audio_url"), job.filename)
            usual = script.error_type or ("transcription_not_found" if script.vanish else None)
            expected = {usual, "invalid_request"} | ({"deadline_exceeded"} if script.stuck else set())
            assert job.error_type in expected, f"{job.error_type}: {job.error_message}"
            self.ground.counts[f"ended {job.stage}"] += 1
        received = {(one.path, one.headers["webhook-id"]) for one in self.simulation.neighbours.receiver.requests}
        results = [event.id for event in await self.simulation.rows(Event) if event.type in TOLD_TO_ALL]
        assert {(path, event_id) for path in ENDPOINTS for event_id in results} <= received
        for delivery in await self.simulation.rows(Delivery):
            assert delivery.endpoint_id is None or delivery.status == DeliveryStatus.DELIVERED
