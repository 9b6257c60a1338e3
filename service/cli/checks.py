"""The checks of `doctor`. Each performs the operation that it checks; none prints a secret."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from service.clock import wall_ms
from service.crypto import SecretBox
from service.db.schema import HEAD, check_schema
from service.errors import ConfigurationError, RelayError, SonioxAuthError
from service.ids import new_uuid
from service.relay import Relay, open_relay
from service.settings import SECRETS, Settings, load_settings, misspelled
from service.store import system
from service.telemetry import configure_logs

TIMEOUT_S = 20
CLOCKS_APART_MS = 2_000
FEWEST_LETTERS = 10  # distinct characters; a random secret of 24 characters has more
SET_URL = "set PUBLIC_BASE_URL to the address at which Soniox reaches this relay"


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; `cure` is empty when it passed."""

    name: str
    detail: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        return not self.cure


async def run_checks() -> list[CheckResult]:
    """Run all checks. Checks that depend on a failed one are skipped."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [
            CheckResult("settings", problem, "mend it; .env.example explains it") for problem in error.problems
        ]
    configure_logs("critical", settings.log_format)  # the results report the errors
    findings = [_names(), _secrets(settings)]
    if missing := _no_database_file(settings):
        return [*findings, missing, await _public_url(settings)]
    async with open_relay(settings) as relay:
        findings += [finding async for finding in _of_database(relay)]
        findings += [finding async for finding in _of_soniox(relay)] if findings[-1].ok else []
    return [*findings, await _public_url(settings)]


class CheckFailedError(Exception):
    """A check failed. A non-empty `cure` replaces the default cure of the check."""

    def __init__(self, detail: str, cure: str = "") -> None:
        super().__init__(detail)
        self.cure = cure


async def _attempt(name: str, cure: str, act: Callable[[], Awaitable[str]]) -> CheckResult:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return CheckResult(name, await act())
    except CheckFailedError as bad:
        return CheckResult(name, str(bad), bad.cure or cure)
    except TimeoutError:
        return CheckResult(name, f"no answer within {TIMEOUT_S} s", cure)
    except RelayError as error:
        return CheckResult(name, str(error), cure)


def _names() -> CheckResult:
    if unknown := misspelled():
        return CheckResult("settings", f"no such setting: {', '.join(unknown)}", "`soniox-relay config` lists all")
    return CheckResult("settings", "all are understood")


def _secrets(settings: Settings) -> CheckResult:
    given = {name: value for name in SECRETS if (value := getattr(settings, name)) is not None}
    weak = [name.upper() for name, value in given.items() if len(set(value.get_secret_value())) < FEWEST_LETTERS]
    if weak:
        cure = "take one that is chance, such as `soniox-relay init --file new.env` writes"
        return CheckResult("secrets", f"easy to guess: {', '.join(weak)}", cure)
    file = Path(".env")
    if file.exists() and file.stat().st_mode & 0o077:
        return CheckResult("secrets", ".env can be read by other users of this machine", "chmod 600 .env")
    return CheckResult("secrets", f"{len(given)} are set, none easy to guess")


def _no_database_file(settings: Settings) -> CheckResult | None:
    """Report a missing SQLite file, because opening it would create it."""
    path = settings.database_file
    if not settings.is_sqlite or path.exists():
        return None
    return CheckResult("database", f"there is no {path} yet", "`soniox-relay migrate` or `serve` makes it")


async def _of_database(relay: Relay) -> AsyncIterator[CheckResult]:
    late, finding = await _read(relay)
    yield finding
    if late:
        return
    yield await _attempt("database", "see to the disk, the server and DATABASE_URL", lambda: _write(relay))
    yield await _attempt("clock", "synchronise this machine's clock (NTP)", lambda: _compare_clocks(relay))


async def _read(relay: Relay) -> tuple[bool, CheckResult]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await relay.db.read(lambda session: check_schema(session.connection()))
    except (RelayError, TimeoutError) as error:
        why = str(error) or f"no answer within {TIMEOUT_S} s"
        return True, CheckResult("database", why, "start it, or see to DATABASE_URL")
    if found:
        return True, CheckResult("migration", found.reason, found.cure)
    return False, CheckResult("migration", f"the schema is up to date ({HEAD})")


async def _write(relay: Relay) -> str:
    await relay.db.write(lambda session: system.record_heartbeat(session, "doctor", relay.clock(), {}))
    return "a row was written and is on disk"


async def _compare_clocks(relay: Relay) -> str:
    apart_ms = abs(wall_ms() - await relay.db.now_ms())
    if apart_ms > CLOCKS_APART_MS:
        raise CheckFailedError(f"{apart_ms} ms apart from the database's")
    return f"{apart_ms} ms apart from the database's"


async def _of_soniox(relay: Relay) -> AsyncIterator[CheckResult]:
    key = await _attempt("soniox", "see to the network and to SONIOX_API_BASE_URL", lambda: _list_models(relay))
    yield key
    if not key.ok:
        return
    cure = "delete what is needed no more at Soniox, or have the limit raised there and here"
    limits, soniox = relay.settings, relay.soniox
    most, files = limits.relay_max_transcriptions, limits.relay_max_files
    yield await _attempt("transcriptions quota", cure, lambda: _room_left(soniox.count_transcriptions, most))
    yield await _attempt("files quota", cure, lambda: _room_left(soniox.count_files, files))


async def _list_models(relay: Relay) -> str:
    try:
        await relay.soniox.get_models()
    except SonioxAuthError as error:
        raise CheckFailedError(
            f"Soniox refuses the key: {error.message}", "set SONIOX_API_KEY to a valid one"
        ) from None
    return f"{urlsplit(relay.settings.soniox_url).hostname} takes the key and lists its models"


async def _room_left(count: Callable[[], Awaitable[int]], most: int) -> str:
    held = await count()
    if held >= most:
        raise CheckFailedError(f"full: {held} of {most}")
    return f"{held} of {most} are taken"


async def _public_url(settings: Settings) -> CheckResult:
    cure = f"start the relay, let its proxy pass /livez and /webhooks/soniox, or {SET_URL}"
    return await _attempt("public url", cure, lambda: _round_trip(settings))


async def _round_trip(settings: Settings) -> str:
    """Call /livez, then send a webhook with a valid header and an invalid body, so that nothing is stored."""
    if _is_loopback(settings.base_url) and not _is_loopback(settings.soniox_url):
        raise CheckFailedError(f"{settings.base_url} is this machine itself; Soniox cannot call it", SET_URL)
    job_id = new_uuid(wall_ms())
    header = {settings.soniox_api_webhook_header: SecretBox(settings.master_secrets).webhook_secret(job_id)}
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
            alive = await http.get(f"{settings.base_url}/livez")
            if alive.status_code != 200 or b'"version"' not in alive.content:
                raise CheckFailedError(
                    f"{settings.base_url}/livez answers {alive.status_code}, and not as a relay"
                )
            refused = await http.post(settings.webhook_url(job_id), headers=header)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckFailedError(f"{settings.base_url} does not answer ({type(error).__name__})") from None
    if refused.status_code != 400:
        raise CheckFailedError(
            f"the webhook route answers {refused.status_code} to the right header instead of 400"
        )
    return f"{settings.base_url} leads to this relay, and lets the webhook's header pass"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
