"""A client of the relay's HTTP API. It needs a URL and a key, and none of the server's secrets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from service.cli.problems import Misused, NotThere, Problem, TimedOut
from service.settings import SecretFiles

ANSWER_WITHIN_S = 75  # more than the longest `wait` the API takes
JOBS = "/v1/transcriptions"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # what a server listens on is no place to call


class ClientSettings(BaseSettings):
    """Where the relay is, read from the same places as the server's settings."""

    model_config = SettingsConfigDict(extra="ignore", env_file=".env", env_ignore_empty=True)

    relay_url: str = ""
    relay_api_key: SecretStr | None = None
    public_base_url: str = ""
    host: str = "127.0.0.1"
    port: str = "8000"

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        *sources: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return named["env_settings"], named["dotenv_settings"], SecretFiles(settings_cls)

    @property
    def url(self) -> str:
        """The most specific address there is."""
        host = EVERYWHERE.get(self.host, self.host)
        return self.relay_url or self.public_base_url or f"http://{host}:{self.port}"


@dataclass(frozen=True)
class RelayClient:
    """Asks the relay. Every method raises a Problem and nothing else."""

    http: httpx.Client

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON object at `path`."""
        return dict(self.ask("GET", path, params=params).json())

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer to one request, if it is a good one."""
        try:
            answer = self.http.request(method, path, **request)
        except httpx.ConnectError:
            cure = "start it with `soniox-relay serve`, or name another with --url or RELAY_URL"
            raise Problem(f"no relay answers at {self.http.base_url}", cure) from None
        except httpx.TimeoutException:
            raise TimedOut(f"the relay at {self.http.base_url} does not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Problem(f"the request to {self.http.base_url} failed ({type(error).__name__})") from None
        if not answer.is_success:
            raise _problem(answer)
        return answer


@contextmanager
def connect(url: str | None, key: str | None) -> Iterator[RelayClient]:
    """A client for what the options say, or else the settings. Raises Misused without a key."""
    try:
        settings = ClientSettings()
    except OSError as error:
        raise Misused(f"a secret's file cannot be read: {error.filename} ({error.strerror})") from None
    if key is None and settings.relay_api_key is not None:
        key = settings.relay_api_key.get_secret_value()
    if not key:
        raise Misused("no API key", "set RELAY_API_KEY or give --key")
    address = (url or settings.url).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise Misused(f"{address} is not an http:// or https:// URL")
    with open_client(address, key) as client:
        yield client


@contextmanager
def open_client(address: str, key: str) -> Iterator[RelayClient]:
    """A client for exactly this relay."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=ANSWER_WITHIN_S, trust_env=False) as http:
        yield RelayClient(http)


def job_path(job_id: str) -> str:
    """Where a transcription is, whatever was typed as its id."""
    return f"{JOBS}/{quote(job_id, safe='')}"


def _problem(answer: httpx.Response) -> Problem:
    try:
        body = answer.json()
        message, details = str(body["message"]), body.get("validation_errors") or []
    except (ValueError, KeyError, TypeError):
        return Problem(f"what answers at {answer.url.copy_with(path='/', query=None)} is not a Soniox relay")
    match answer.status_code:
        case 401:
            return Problem("the relay refused the key", "give the right one with --key or RELAY_API_KEY")
        case 404:
            return NotThere(message)
        case _:
            more = [f"{item['location']}: {item['message']}" for item in details if item["message"] not in message]
            return Problem(message, "\n  ".join(more))
