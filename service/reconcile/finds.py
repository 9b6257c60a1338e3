"""What a sweep may find, and what it follows from. Pure."""

from dataclasses import dataclass

from service.marks import GONE, STUCK
from service.soniox import RemoteTranscription
from service.soniox.models import FINISHED_BADLY, FINISHED_WELL
from service.tables import Transcription

DEADLINE_MS = 24 * 3600 * 1000  # the longest audio is 300 minutes, done in ten at Soniox's usual pace
PACE = 30  # audio is transcribed at least so many times faster than it was spoken
MOST_INTERVALS = 10  # however long the audio, a job is not left alone for longer


@dataclass(frozen=True)
class Find:
    """One submitted job as we have it, and what Soniox says of it; None when Soniox does not have it."""

    job: Transcription
    remote: RemoteTranscription | None
    now_ms: int

    @property
    def status(self) -> str:
        """What goes into the inbox."""
        if self.remote is None:
            return GONE
        if self.remote.status in FINISHED_BADLY | {FINISHED_WELL}:
            return self.remote.status
        return STUCK if self._is_overdue() else self.remote.status

    @property
    def is_news(self) -> bool:
        """True when the collect stage has something to do."""
        return self.status in {GONE, STUCK, FINISHED_WELL} | FINISHED_BADLY

    @property
    def kind(self) -> str:
        """By what name it is counted."""
        if self.status in {GONE, STUCK}:
            return {GONE: "vanished", STUCK: "stuck"}[self.status]
        code = self.remote.webhook_status_code if self.remote else None
        return "webhook_rejected" if code is not None and not 200 <= code < 300 else "webhook_lost"

    @property
    def action(self) -> str:
        """What is done about it, in one phrase."""
        if not self.is_news:
            return "wait"
        return {GONE: "look again, then fail it", STUCK: "fail it"}.get(self.status, "collect the result")

    @property
    def diagnosis(self) -> str:
        """Why no webhook told, as far as Soniox knows."""
        code = self.remote.webhook_status_code if self.remote else None
        match code:
            case None:
                return "Soniox has sent no webhook, or got no answer to it"
            case 401:
                return "our webhook answered 401: the secret that Soniox sends is not the one expected here"
            case 413 | 400:
                return f"our webhook answered {code}: something between Soniox and the relay changes the body"
            case code if 200 <= code < 300:
                return f"something answered {code} in our place: does PUBLIC_BASE_URL lead to this relay?"
            case _:
                return f"our webhook answered {code}"

    def _is_overdue(self) -> bool:
        return self.now_ms - (self.job.submitted_at_ms or self.now_ms) > DEADLINE_MS


def next_look_ms(find: Find, interval_ms: int) -> int:
    """When to ask again: each interval, later while long audio cannot be done yet or the inbox has the news."""
    if find.is_news:
        return find.now_ms + MOST_INTERVALS * interval_ms
    audio_ms = find.remote.audio_duration_ms if find.remote else None
    expected_ms = (find.job.submitted_at_ms or find.now_ms) + (audio_ms or 0) // PACE
    wait_ms = min(max(interval_ms, expected_ms - find.now_ms), MOST_INTERVALS * interval_ms)
    return find.now_ms + wait_ms
