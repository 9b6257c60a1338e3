"""What a sandbox is told at birth. Faults, which change while it runs, are in `faults`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

GIBIBYTE = 2**30


class SandboxConfig(BaseModel):
    """The published limits of Soniox are the defaults; times are seconds unless the name says ms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: str = "sandbox-key"
    recognise: Literal["pocketsphinx", "script"] = "pocketsphinx"
    seed: int = 0

    processing_ms: int = Field(default=50, ge=0)
    concurrency: int | None = Field(default=None, ge=1)
    audio_url_timeout: float = 30
    # No stored copy of Soniox's documentation names the slug of a failed download.
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
        """Recognition for real is one thread of one process; a script costs next to nothing."""
        return self.concurrency or (8 if self.recognise == "script" else 1)

    @property
    def webhook_delays(self) -> list[float]:
        return [delay * self.time_factor for delay in self.webhook_schedule]
