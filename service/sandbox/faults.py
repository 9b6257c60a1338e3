"""The faults of the sandbox, changed at run time through `/_sandbox/faults`.

A fault is a list of rules, or a switch. The first rule that fires wins. Short forms of a list: `true` (always),
`0.2` (one time in five), one rule without its list. A rule fires with its `probability`, at most `remaining`
more times, where its `match` (a shell pattern) fits: `METHOD /v1/path/{id}` for faults on requests, the webhook
URL for faults on webhooks, the `client_reference_id` for faults on jobs. `fired` counts how often it fired. The
random generator is seeded.
"""

import random
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")

    probability: float = Field(default=1, ge=0, le=1)
    remaining: int | None = Field(default=None, ge=0)
    match: str = "*"
    fired: int = 0


class Refuse(Rule):
    """Answer with an error instead of doing the work. `html` sends a proxy's page instead of Soniox's body."""

    status: int = Field(default=500, ge=400, le=599)
    error_type: str | None = None
    message: str | None = None
    html: bool = False
    retry_after: str | None = None


class Slow(Rule):
    ms: float = Field(default=1000, ge=0)
    jitter_ms: float = Field(default=0, ge=0)


class LoseAnswer(Rule):
    """Do the work, then cut the connection, hang for `hang_seconds` and cut it, or answer `status`."""

    match: str = "POST /v1/transcriptions"
    how: Literal["cut", "hang", "status"] = "cut"
    status: int = Field(default=500, ge=400, le=599)
    hang_seconds: float = Field(default=60, ge=0)


class Duplicate(Rule):
    times: int = Field(default=1, ge=1)


class Delay(Rule):
    seconds: float = Field(default=1, ge=0)


class Contradict(Rule):
    """Send an additional webhook with the opposite status, before or after the true one."""

    when: Literal["before", "after"] = "before"


class Lag(Rule):
    """Show a finished job as `processing` for `ms` more. Its webhook is not delayed."""

    ms: float = Field(default=1000, ge=0)


class OddStatus(Rule):
    """Show a failed job with the status `word` instead of `error`."""

    word: str = "failed"


AnyRule = TypeVar("AnyRule", bound=Rule)


def as_rules(value: Any) -> Any:
    if value is None or value is False:
        return []
    entries = value if isinstance(value, list) else [value]
    return [_as_rule(entry) for entry in entries]


def _as_rule(value: Any) -> Any:
    if value is True:
        return {}
    return {"probability": value} if isinstance(value, int | float) else value


Rules = Annotated[list[AnyRule], BeforeValidator(as_rules)]


class Faults(BaseModel):
    model_config = ConfigDict(extra="forbid")

    # on requests
    refuse: Rules[Refuse] = []
    slow: Rules[Slow] = []
    reset: Rules[Rule] = []
    lose_answer: Rules[LoseAnswer] = []
    truncate: Rules[Rule] = []
    # on webhooks
    drop_webhook: Rules[Rule] = []
    duplicate_webhook: Rules[Duplicate] = []
    delay_webhook: Rules[Delay] = []
    early_webhook: Rules[Rule] = []
    reorder_webhook: Rules[Delay] = []
    contradict_webhook: Rules[Contradict] = []
    # on jobs
    lag: Rules[Lag] = []
    vanish: Rules[Rule] = []
    stick: Rules[Rule] = []
    odd_status: Rules[OddStatus] = []
    # switches
    list_order: Literal["newest", "oldest"] = "newest"
    cascade_delete: bool = False
    malformed_id_status: Literal[400, 404, 422] = 400
    missing_file: Literal["job_fails", "refuse"] = "job_fails"
    files_elsewhere: int = Field(default=0, ge=0)
    transcriptions_elsewhere: int = Field(default=0, ge=0)


class FaultBoard:
    """The current faults, and the random generator that decides which fire."""

    def __init__(self, seed: int) -> None:
        self.knobs = Faults()
        self._dice = random.Random(seed)

    def set(self, knobs: Faults) -> None:
        self.knobs = knobs

    def draw(self, rules: Iterable[AnyRule], subject: str | None) -> AnyRule | None:
        return next((rule for rule in rules if self._fires(rule, subject or "")), None)

    def jitter(self, most: float) -> float:
        return self._dice.uniform(0, most)

    def _fires(self, rule: Rule, subject: str) -> bool:
        if rule.remaining == 0 or not fnmatchcase(subject, rule.match):
            return False
        if self._dice.random() >= rule.probability:
            return False
        rule.fired += 1
        if rule.remaining is not None:
            rule.remaining -= 1
        return True
