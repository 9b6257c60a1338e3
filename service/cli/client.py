"""A client of the relay's HTTP API. It needs a URL and an API key, and none of the server's secrets."""

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

ANSWER_WITHIN_S = 75  # longer than the longest `wait` that the API accepts
JOBS = "/v1/transcriptions"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # wildcard addresses, replaced by loopback


class ClientSettings(BaseSettings):
    """The relay's address and API key, read from the same sources as the server's settings."""

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
        """The relay's address: RELAY_URL, PUBLIC_BASE_URL, or HOST and PORT."""
        host = EVERYWHERE.get(self.host, self.host)
        return self.relay_url or self.public_base_url or f"http://{host}:{self.port}"

    @property
    def key(self) -> str:
        """The API key, or an empty string."""
        return self.relay_api_key.get_secret_value() if self.relay_api_key else ""


@dataclass(frozen=True)
class RelayClient:
    """Sends requests to the relay. Methods raise only CommandError and its subclasses."""

    http: httpx.Client

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """Return the JSON object at `path`."""
        return dict(self.ask("GET", path, params=params).json())

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send one request and return a successful response. Raises CommandError."""
        with self._explained():
            answer = self.http.request(method, path, **request)
        if not answer.is_success:
            raise _problem(answer)
        return answer

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """GET `path` and yield the body in pieces, as they arrive. Raises CommandError."""
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
    """Open a client with the options, or else the settings. Raises UsageError without a key or a valid URL."""
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
    """Load the settings. Raises UsageError when the file of a secret cannot be read."""
    try:
        return ClientSettings()
    except OSError as error:
        raise UsageError(f"a secret's file cannot be read: {error.filename} ({error.strerror})") from None


@contextmanager
def open_client(address: str, key: str) -> Iterator[RelayClient]:
    """Open a client for the relay at `address`."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=ANSWER_WITHIN_S, trust_env=False) as http:
        yield RelayClient(http)


def path_of(collection: str, item_id: str) -> str:
    """Return the path of one item of a collection. The id is quoted, because a user typed it."""
    return f"{collection}/{quote(item_id, safe='')}"


def job_path(job_id: str) -> str:
    """Return the path of a transcription."""
    return path_of(JOBS, job_id)


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are neither None nor empty lists. The relay uses its defaults for the others."""
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
