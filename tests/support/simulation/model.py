"""The life of transcriptions as a caller may count on it: a small model that what happened is held against.

It knows the letters of `service.lifecycle.MOVES`, what was asked for, and nothing of how it is done.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from service.lifecycle import MOVES, Stage
from tests.support.simulation.witness import Note

RESULTS = ("transcription.completed", "transcription.failed")
TERMINAL = {Stage.COMPLETED, Stage.FAILED}


@dataclass
class Life:
    """One job as last seen."""

    stage: str
    attempt: int
    retries_asked: int = 0
    may_go: bool = False  # somebody asked for its deletion
    gone: bool = False
    kept: Any = None  # the result, once it is completed


@dataclass(frozen=True)
class Creation:
    """One transcription that Soniox was asked to make, and for which job."""

    soniox_id: str
    job_id: str
    vanished: bool  # Soniox lost it by itself: another one may be made


@dataclass(frozen=True)
class Sight:
    """Everything that can be seen from outside after a rule."""

    notes: list[Note]
    jobs: list[Any]
    events: list[Any]
    results: dict[str, Any]  # what a completed job keeps, by job
    leftovers: set[str]  # ids of jobs of which anything at all is kept
    creations: list[Creation]
    references: list[str]  # of the files at Soniox
    received: list[tuple[str, str, bytes]]  # (receiver, event id, body)


@dataclass
class Model:
    """All jobs. `see` raises AssertionError when something happened that must not."""

    lives: dict[str, Life] = field(default_factory=dict)
    created_for: dict[str, tuple[str, int]] = field(default_factory=dict)  # soniox id: job, attempt
    told: dict[str, tuple[str | None, bytes]] = field(default_factory=dict)  # event id: job, body

    def see(self, sight: Sight) -> None:
        """Take in what happened since the last look, and check it."""
        for note in sight.notes:
            self._follow(note)
        assert {job.id: job.stage for job in sight.jobs} == {
            job_id: life.stage for job_id, life in self.lives.items() if not life.gone
        }
        for job in sight.jobs:
            self._check_job(job, sight)
        self._check_events(sight)
        self._check_creations(sight)
        self._check_received(sight)
        assert not sight.leftovers - {job.id for job in sight.jobs}, "something of a deleted job is still kept"
        assert max(Counter(sight.references).values(), default=0) <= 1, "a file was uploaded twice"

    def _follow(self, note: Note) -> None:
        if note.what == "born":
            assert note.row_id not in self.lives
            assert note.new == Stage.ACCEPTED
            self.lives[note.row_id] = Life(note.new, note.attempt)
            return
        assert note.what in {"moved", "gone"}, f"{note.what}: {note}"
        life = self.lives[note.row_id]
        assert not life.gone, f"a deleted job lives on: {note}"
        assert note.old == life.stage
        if note.what == "gone":
            assert life.may_go, "nobody asked for its deletion"
            life.gone = True
        else:
            self._move(life, note)

    def _move(self, life: Life, note: Note) -> None:
        assert (Stage(note.old), Stage(note.new)) in MOVES, f"no such move: {note}"
        is_retry = note.old == Stage.FAILED
        assert note.attempt == life.attempt + is_retry, f"wrong attempt: {note}"
        assert note.attempt <= 1 + life.retries_asked, "nobody asked for another attempt"
        life.stage, life.attempt = note.new, note.attempt

    def _check_job(self, job: Any, sight: Sight) -> None:
        life = self.lives[job.id]
        result = sight.results.get(job.id)
        assert (result is not None) == (job.stage == Stage.COMPLETED), "a transcript belongs to completed ones"
        if job.stage == Stage.COMPLETED:
            life.kept = life.kept or result
            assert result == life.kept, "what is completed was changed"
        if job.stage == Stage.FAILED:
            assert job.error_type, "a failure without an explanation"
            assert job.error_message, "a failure without an explanation"
        told = [event for event in sight.events if event.transcription_id == job.id and event.type in RESULTS]
        assert len(told) == life.attempt - (life.stage not in TERMINAL), "one event for each attempt that ended"

    def _check_events(self, sight: Sight) -> None:
        """The receipt of a deletion is the only thing left, and there is one of it."""
        told = Counter((event.transcription_id, event.type) for event in sight.events)
        for job_id, life in self.lives.items():
            assert told[(job_id, "transcription.deleted")] == life.gone
            if life.gone:
                assert not any(told[(job_id, kind)] for kind in RESULTS), (
                    "the result of a deleted job is still told"
                )
        for event in sight.events:
            assert self.told.setdefault(event.id, (event.transcription_id, event.body))[1] == event.body

    def _check_creations(self, sight: Sight) -> None:
        """One for each attempt, and each attempt has the one that was made for it."""
        for creation in sight.creations:
            if creation.soniox_id not in self.created_for:
                attempt = self.lives[creation.job_id].attempt
                self.created_for[creation.soniox_id] = (creation.job_id, attempt)
        lasting = [creation.soniox_id for creation in sight.creations if not creation.vanished]
        often = Counter(self.created_for[soniox_id] for soniox_id in lasting)
        assert max(often.values(), default=0) <= 1, f"created twice at Soniox: {often.most_common(1)}"
        for job in sight.jobs:
            if job.soniox_id:
                assert self.created_for[job.soniox_id] == (job.id, job.attempt), "the result of another attempt"

    def _check_received(self, sight: Sight) -> None:
        """Repeats are the same to the byte, under the same id."""
        for receiver, event_id, body in sight.received:
            assert event_id in self.told, "an event that nobody wrote"
            if receiver != "/callback":
                assert body == self.told[event_id][1], "a repeat that differs"
