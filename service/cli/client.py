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

from service.cli.console import CommandError, MissingError, TimedOutError, TransientError, UsageError
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

    @property
    def key(self) -> str:
        """Empty when there is none."""
        return self.relay_api_key.get_secret_value() if self.relay_api_key else ""


@dataclass(frozen=True)
class RelayClient:
    """Asks the relay. Every method raises a Problem and nothing else."""

    http: httpx.Client

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON object at `path`."""
        return dict(self.ask("GET", path, params=params).json())

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer to one request, if it is a good one."""
        with self._explained():
            answer = self.http.request(method, path, **request)
        if not answer.is_success:
            raise _problem(answer)
        return answer

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """The answer of one GET piece by piece, as it comes."""
        with self._explained(), self.http.stream("GET", path, **request) as answer:
            if not answer.is_success:
                answer.read()
                raise _problem(answer)
            yield answer.iter_bytes()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        url = self.http.base_url
        try:
            yield
        except httpx.ConnectError:
            cure = "start it with `soniox-relay serve`, or name another with --url or RELAY_URL"
            raise TransientError(f"no relay answers at {url}", cure) from None
        except httpx.TimeoutException:
            raise TimedOutError(f"the relay at {url} does not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransientError(f"the request to {url} failed ({type(error).__name__})") from None


@contextmanager
def connect(url: str | None, key: str | None) -> Iterator[RelayClient]:
    """A client for what the options say, or else the settings. Raises Misused without a key."""
    settings = client_settings()
    key = key or settings.key
    if not key:
        raise UsageError("no API key", "set RELAY_API_KEY or give --key")
    address = (url or settings.url).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"{address} is not an http:// or https:// URL")
    with open_client(address, key) as client:
        yield client


def client_settings() -> ClientSettings:
    """Where the relay is. Raises Misused when the key's file cannot be read."""
    try:
        return ClientSettings()
    except OSError as error:
        raise UsageError(f"a secret's file cannot be read: {error.filename} ({error.strerror})") from None


@contextmanager
def open_client(address: str, key: str) -> Iterator[RelayClient]:
    """A client for exactly this relay."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=ANSWER_WITHIN_S, trust_env=False) as http:
        yield RelayClient(http)


def path_of(collection: str, item_id: str) -> str:
    """Where one thing of a collection is, whatever was typed as its id."""
    return f"{collection}/{quote(item_id, safe='')}"


def job_path(job_id: str) -> str:
    """Where a transcription is."""
    return path_of(JOBS, job_id)


def given(**values: Any) -> dict[str, Any]:
    """What was given of the parameters or fields; the rest is left to the relay's own defaults."""
    return {name: value for name, value in values.items() if value is not None and value != []}


def _problem(answer: httpx.Response) -> CommandError:
    try:
        body = answer.json()
        message, details = str(body["message"]), body.get("validation_errors") or []
    except (ValueError, KeyError, TypeError):
        kind = TransientError if answer.is_server_error else CommandError
        return kind(f"what answers at {answer.url.copy_with(path='/', query=None)} is not a Soniox relay")
    more = [f"{item['location']}: {item['message']}" for item in details if item["message"] not in message]
    match answer.status_code:
        case 400:
            return UsageError(message, "\n  ".join(more))
        case 401:
            return CommandError("the relay refused the key", "give the right one with --key or RELAY_API_KEY")
        case 404:
            return MissingError(message)
        case code if code == 429 or code >= 500:
            return TransientError(message)
        case _:
            return CommandError(message, "\n  ".join(more))
