"""The settings of a sandbox and its project in memory. Faults, which change at run time, are in `faults`."""

import tempfile
from asyncio import Event
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from service.sandbox.schemas import CreateTranscription
from service.sandbox.tokens import Script, scripted

GIBIBYTE = 2**30


class SandboxConfig(BaseModel):
    """Fixed settings. The limits default to Soniox's published ones; times are in seconds, or `_ms` by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: str = "sandbox-key"
    recognise: Literal["pocketsphinx", "script"] = "pocketsphinx"
    seed: int = 0

    processing_ms: int = Field(default=50, ge=0)
    concurrency: int | None = Field(default=None, ge=1)
    audio_url_timeout: float = 30
    # Soniox's documentation, as far as we have it, does not name the error type of a failed download.
    audio_url_error_type: str = "invalid_audio_file"

    max_pending: int = 100
    max_transcriptions: int = 2000
    max_files: int = 1000
    max_file_bytes: int = GIBIBYTE
    max_total_bytes: int = 10 * GIBIBYTE
    max_context_chars: int = 10_000
    requests_per_minute: int | None = 500
    minute: float = Field(default=60, gt=0)

    webhook_schedule: tuple[float, ...] = (0, 5, 30, 120)
    webhook_timeout: float = 5
    webhook_retries_4xx: bool = True
    webhook_connections: int = Field(default=64, ge=1)
    time_factor: float = Field(default=1, ge=0)

    @property
    def workers(self) -> int:
        """Number of parallel jobs. The recogniser is one thread of one process; scripts are cheap."""
        return self.concurrency or (8 if self.recognise == "script" else 1)

    @property
    def webhook_delays(self) -> list[float]:
        return [delay * self.time_factor for delay in self.webhook_schedule]


Status = Literal["queued", "processing", "completed", "error"]


@dataclass
class StoredFile:
    order: int
    filename: str
    size: int
    path: Path
    client_reference_id: str | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class FakeTranscription:
    """A transcription. `shown_done_from` (event loop time) is after its end only with the fault `lag`."""

    order: int
    request: CreateTranscription
    filename: str
    script: Script
    id: str = field(default_factory=lambda: str(uuid4()))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: Status = "queued"
    audio_duration_ms: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_word: str = "error"
    transcript: dict[str, Any] | None = None
    webhook_status_code: int | None = None
    shown_done_from: float = 0
    deleted: bool = False
    announced: Event = field(default_factory=Event)

    @property
    def status_word(self) -> str:
        return self.error_word if self.status == "error" else self.status


class FakeProject:
    """One Soniox project in memory. `created` keeps every transcription, including deleted ones."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.clear()

    def clear(self) -> None:
        for stored in getattr(self, "files", {}).values():
            stored.path.unlink(missing_ok=True)
        self._orders = count(1)
        self.files: dict[str, StoredFile] = {}
        self.transcriptions: dict[str, FakeTranscription] = {}
        self.created: dict[str, FakeTranscription] = {}
        self.usage: list[dict[str, Any]] = []
        self.total_bytes = 0
        self.by_status: Counter[str] = Counter()
        self.high_water: Counter[str] = Counter()
        self.creates_by_webhook_url: Counter[str] = Counter()

    def close(self) -> None:
        if self._folder:
            self._folder.cleanup()

    def fresh_path(self) -> Path:
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="soniox-sandbox-")
        return Path(self._folder.name) / uuid4().hex

    def add_file(self, filename: str, size: int, path: Path, client_reference_id: str | None) -> StoredFile:
        stored = StoredFile(next(self._orders), filename, size, path, client_reference_id)
        self.files[stored.id] = stored
        self.total_bytes += size
        self._mark("files", len(self.files))
        self._mark("bytes", self.total_bytes)
        return stored

    def delete_file(self, file_id: str) -> bool:
        stored = self.files.pop(file_id, None)
        if stored is None:
            return False
        self.total_bytes -= stored.size
        stored.path.unlink(missing_ok=True)
        return True

    def add_transcription(self, request: CreateTranscription, filename: str) -> FakeTranscription:
        script = scripted(request.client_reference_id, request.audio_url, filename)
        job = FakeTranscription(next(self._orders), request, filename, script)
        self.transcriptions[job.id] = self.created[job.id] = job
        self.by_status[job.status] += 1
        if request.webhook_url:
            self.creates_by_webhook_url[request.webhook_url] += 1
        self._mark("pending", self.pending)
        self._mark("transcriptions", len(self.transcriptions))
        return job

    def move(self, job: FakeTranscription, status: Status) -> None:
        if not job.deleted:
            self.by_status[job.status] -= 1
            self.by_status[status] += 1
        job.status = status

    def forget(self, job: FakeTranscription) -> None:
        if not job.deleted:
            job.deleted = True
            self.by_status[job.status] -= 1
            del self.transcriptions[job.id]

    @property
    def pending(self) -> int:
        """Number of transcriptions that are created and not yet processing, which Soniox calls pending."""
        return self.by_status["queued"]

    def _mark(self, name: str, level: int) -> None:
        self.high_water[name] = max(self.high_water[name], level)


def timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
