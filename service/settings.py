"""Settings from the environment, then `.env`, then defaults. No other module reads the environment.

Every secret may also be given as `NAME_FILE`, the path of a file that contains it. All mistakes are reported
together, without the values of secrets.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from service.errors import ConfigurationError

SECRETS = (
    "soniox_api_key",
    "soniox_api_webhook_secret",
    "soniox_api_webhook_secret_previous",
    "relay_api_key",
)
FROM_FILES = (*SECRETS, "database_url", "relay_database_direct_url")  # such a URL may hold a password
SHORTEST_SECRET = 24
WEBHOOK_PATH = "/webhooks/soniox"
LONGEST_WEBHOOK_URL = 256  # Soniox's limit for webhook_url, query string included
LONGEST_WAIT_S = 366 * 86_400
OF_COMMANDS = {"RELAY_URL"}  # read by the command line, not a setting
PLACEHOLDERS = ("change-me", "changeme", "change_me", "your-", "your_", "<", "replace", "example", "placeholder")


class Settings(BaseSettings):
    """All settings, named as in the environment but in lower case. `_s` are seconds, `_bytes` bytes."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_file=".env", env_ignore_empty=True
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        *sources: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            named["init_settings"],
            named["env_settings"],
            named["dotenv_settings"],
            SecretFiles(settings_cls),
        )

    soniox_api_key: SecretStr
    soniox_api_base_url: str = "https://api.soniox.com"
    soniox_api_webhook_header: str = Field(
        "X-Soniox-Webhook-Secret", pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$"
    )
    soniox_api_webhook_secret: SecretStr
    soniox_api_webhook_secret_previous: SecretStr | None = None
    public_base_url: str = ""
    database_url: str = Field("sqlite:///relay.db", repr=False)  # it may hold a password
    relay_database_direct_url: str = Field("", repr=False)  # bypasses the pooler of DATABASE_URL
    relay_database_connections: int = Field(10, ge=4)  # per process, besides the one that listens
    host: str = Field("127.0.0.1", max_length=180)  # keeps the webhook URL within its limit
    port: int = Field(8000, ge=0, le=65535)
    otel_exporter_otlp_endpoint: str = ""
    otel_service_name: str = "soniox-relay"
    relay_worker_port: int | None = Field(None, ge=0, le=65535)  # None: a `worker` process does not listen
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    relay_api_key: SecretStr | None = None
    relay_reconcile_interval_s: float = Field(30, gt=0, le=LONGEST_WAIT_S)
    relay_reconcile_grace_s: float = Field(60, ge=0, le=LONGEST_WAIT_S)
    relay_adopt_foreign: bool = False
    relay_max_pending: int = Field(100, ge=1)
    relay_max_transcriptions: int = Field(2000, ge=1)
    relay_max_files: int = Field(1000, ge=1)
    relay_max_requests_per_minute: int = Field(400, ge=10)
    relay_key_requests_per_minute: int = Field(600_000, ge=0)  # per API key; 0: no limit
    relay_anonymous_requests_per_minute: int = Field(1200, ge=0)  # per address without a key; 0: no limit
    relay_allowed_destinations: Annotated[tuple[str, ...], NoDecode] = ()
    relay_delivery_schedule_s: Annotated[tuple[float, ...], NoDecode] = (
        *(5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200),
        *(86400, 86400, 86400, 86400, 86400, 86400, 86400),
    )
    relay_delivery_timeout_s: float = Field(15, gt=0, le=300)
    relay_retention_days: int = Field(0, ge=0)
    relay_max_upload_bytes: int = Field(1_073_741_824, ge=1)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("relay_allowed_destinations", mode="before")
    @classmethod
    def _split_words(cls, value: Any) -> Any:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
        )

    @field_validator("relay_allowed_destinations")
    @classmethod
    def _are_hosts_or_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if "/" in entry and not _is_network(entry):
                raise ValueError(f"{entry} is neither a host nor a network such as 10.0.0.0/8")
        return entries

    @field_validator("relay_delivery_schedule_s", mode="before")
    @classmethod
    def _split_waits(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        waits = tuple(part.strip() for part in value.split(",") if part.strip())
        if not waits:
            raise ValueError("at least one wait in seconds is needed, such as 5,30,120")
        return waits

    @field_validator("relay_delivery_schedule_s")
    @classmethod
    def _waits_are_positive(cls, waits: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= wait <= LONGEST_WAIT_S for wait in waits):
            raise ValueError(f"waits are seconds, from 0 to {LONGEST_WAIT_S}")
        return waits

    @field_validator("soniox_api_base_url", "public_base_url", "otel_exporter_otlp_endpoint")
    @classmethod
    def _is_http_url(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).netloc):
            raise ValueError("must be an http:// or https:// URL")
        return value.rstrip("/")

    @field_validator("public_base_url")
    @classmethod
    def _webhook_url_fits(cls, value: str) -> str:
        if len(_webhook_url(value, "0" * 36)) > LONGEST_WEBHOOK_URL:
            raise ValueError(f"is too long: the webhook URL must fit {LONGEST_WEBHOOK_URL} characters")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_known_database(cls, value: str) -> str:
        kind, separator, rest = value.partition("://")
        if kind.split("+", 1)[0] not in {"sqlite", "postgresql", "postgres"} or not separator:
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if kind.startswith("sqlite") and (rest in {"", "/"} or ":memory:" in rest or rest[0] != "/"):
            raise ValueError("must name a file, such as sqlite:///relay.db: what is in memory only is not durable")
        return value

    @field_validator("relay_database_direct_url")
    @classmethod
    def _is_postgresql(cls, value: str) -> str:
        if value and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator(*FROM_FILES, mode="before")
    @classmethod
    def _was_readable(cls, value: Any) -> Any:
        if isinstance(value, Unreadable):
            raise ValueError(value.reason)
        return value

    @field_validator("soniox_api_webhook_secret", "soniox_api_webhook_secret_previous", "relay_api_key")
    @classmethod
    def _is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().strip()) < SHORTEST_SECRET:
            raise ValueError(f"must have at least {SHORTEST_SECRET} characters (`soniox-relay init` makes one)")
        return value

    @field_validator(*SECRETS)
    @classmethod
    def _is_no_placeholder(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().lower().startswith(PLACEHOLDERS):
            raise ValueError("is still the placeholder of the example file")
        return value

    @field_validator("soniox_api_webhook_secret", "soniox_api_webhook_secret_previous", "relay_api_key")
    @classmethod
    def _is_a_secret_of_its_own(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        earlier = [others.data.get(name) for name in SECRETS]  # `data` has only the fields above
        if value is not None and value in earlier:
            raise ValueError("must differ from the other secrets")
        return value

    @property
    def base_url(self) -> str:
        """The public URL of the relay, without a trailing slash."""
        return self.public_base_url or f"http://{self.host}:{self.port}"

    @property
    def soniox_url(self) -> str:
        """Soniox's base URL with `/v1`, whether or not the setting has it."""
        return self.soniox_api_base_url.removesuffix("/v1") + "/v1"

    @property
    def master_secrets(self) -> tuple[bytes, ...]:
        """The webhook secrets, the current one first."""
        given = (self.soniox_api_webhook_secret, self.soniox_api_webhook_secret_previous)
        return tuple(secret.get_secret_value().encode() for secret in given if secret)

    @property
    def is_sqlite(self) -> bool:
        """True when the database is a SQLite file."""
        return self.database_url.startswith("sqlite")

    @property
    def database_file(self) -> Path:
        """The path of the SQLite file."""
        return Path(self.database_url.split("///", 1)[-1])

    @property
    def is_pooled(self) -> bool:
        """True when DATABASE_URL is a pooler in transaction mode."""
        return bool(self.relay_database_direct_url)

    @property
    def direct_url(self) -> str:
        """The URL of the database without a pooler, for LISTEN and migrations."""
        return self.relay_database_direct_url or self.database_url

    @property
    def webhook_base(self) -> str:
        """The URL of the webhook route, without a query string."""
        return _webhook_url(self.base_url, "").partition("?")[0]

    def webhook_url(self, transcription_id: str) -> str:
        """Return the webhook URL of one transcription."""
        return _webhook_url(self.base_url, transcription_id)


@dataclass(frozen=True)
class Unreadable:
    """Placeholder for a secret whose file cannot be read, so that it is reported with the other mistakes."""

    reason: str


class SecretFiles(PydanticBaseSettingsSource):
    """Reads secrets and database URLs given as `NAME_FILE` in the environment or in `.env`."""

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = self._given().get(f"{field_name.upper()}_FILE")
        return (_content(Path(path)) if path else None), field_name, False

    @override
    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(Settings.model_fields[name], name)[0] for name in FROM_FILES}
        return {name: secret for name, secret in found.items() if secret}

    def _given(self) -> dict[str, str | None]:
        env_file = self.config.get("env_file")
        from_file = dotenv_values(env_file) if isinstance(env_file, str) else {}
        return {**from_file, **os.environ}


def misspelled() -> list[str]:
    """Return names in `.env` that look like settings but are unknown.

    The environment is not checked: it may have variables of other programs.
    """
    known = {name.upper() for name in Settings.model_fields} | {f"{name.upper()}_FILE" for name in FROM_FILES}
    ours = [name for name in dotenv_values(".env") if name.upper().startswith(("SONIOX_", "RELAY_"))]
    return [name for name in ours if name.upper() not in known | OF_COMMANDS]


def load_settings() -> Settings:
    """Read and validate the settings. Raises ConfigurationError with one line for each mistake."""
    try:
        return Settings()
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
    raise ConfigurationError(*[_line(dict(detail)) for detail in details]) from None


def _content(path: Path) -> str | Unreadable:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        return Unreadable(f"{path} cannot be read ({error.strerror})")
    except UnicodeDecodeError:
        return Unreadable(f"{path} is not text")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return False
    return True


def _webhook_url(base_url: str, transcription_id: str) -> str:
    return f"{base_url}{WEBHOOK_PATH}?job={transcription_id}"


def _line(detail: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"][:1]).upper()
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "missing":
        message = "is required and not set"
    return f"{name}: {message}" if name else message


MASK = "********"
PASSWORD_IN_URL = re.compile(r"(://[^:/@]*:).*@|(?<=password=)[^&]*")


def settings_in_force(settings: Settings) -> list[tuple[str, str, str]]:
    """Return name, value and source of every setting, with secrets masked."""
    origins = _sources()
    return [
        (name.upper(), _shown(getattr(settings, name)), origins.get(name) or _default_source(name, settings))
        for name in Settings.model_fields
    ]


def _sources() -> dict[str, str]:
    """Return the source in force of each setting that is not a default."""
    weakest_first = {
        "secret file": SecretFiles(Settings)(),
        ".env": DotEnvSettingsSource(Settings)(),
        "environment": EnvSettingsSource(Settings)(),
    }
    return {name: source for source, given in weakest_first.items() for name in given}


def _default_source(name: str, settings: Settings) -> str:
    """Return the source of a setting without one in `_sources`: its default, or the command line."""
    return "default" if getattr(settings, name) == Settings.model_fields[name].default else "command line"


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return "" if value is None else PASSWORD_IN_URL.sub(_masked, str(value))


def _masked(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}@" if found[1] else MASK
