"""Settings: the environment, `.env`, files for secrets; every mistake at once and no secret ever shown."""

from pathlib import Path
from typing import Any

import pytest

from service.db.engines import engine_url
from service.errors import ConfigurationError
from service.settings import Settings, load_settings, misspelled

GOOD = {
    "SONIOX_API_KEY": "soniox-key-of-the-tests",
    "SONIOX_API_WEBHOOK_SECRET": "webhook-secret-of-the-tests-01",
    "RELAY_API_KEY": "relay-key-of-the-tests-0000002",
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only the required settings."""
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problems() -> list[str]:
    """What a start would complain about."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    return list(refused.value.problems)


def test_the_defaults_are_those_of_the_contract(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("RELAY_API_KEY")
    settings = load_settings()
    day = 86_400.0
    contract: dict[str, Any] = {
        "soniox_api_base_url": "https://api.soniox.com",
        "soniox_api_webhook_header": "X-Soniox-Webhook-Secret",
        "soniox_api_webhook_secret_previous": None,
        "public_base_url": "",
        "database_url": "sqlite:///relay.db",
        "host": "127.0.0.1",
        "port": 8000,
        "log_level": "info",
        "log_format": "console",
        "relay_api_key": None,
        "relay_reconcile_interval_s": 30,
        "relay_reconcile_grace_s": 60,
        "relay_max_pending": 100,
        "relay_max_transcriptions": 2000,
        "relay_max_files": 1000,
        "relay_max_requests_per_minute": 400,
        "relay_allowed_destinations": (),
        "relay_delivery_schedule_s": (5, 30, 120, 600, 1800, 3600, 10_800, 21_600, 43_200, *[day] * 7),
        "relay_delivery_timeout_s": 15,
        "relay_retention_days": 0,
        "relay_max_upload_bytes": 1_073_741_824,
    }
    assert settings.model_dump(include=set(contract)) == contract
    assert settings.base_url == "http://127.0.0.1:8000"


def test_every_mistake_is_listed_at_once_under_its_name(environment: pytest.MonkeyPatch) -> None:
    wrong = {
        "SONIOX_API_KEY": "",
        "SONIOX_API_WEBHOOK_SECRET": "short",
        "SONIOX_API_WEBHOOK_SECRET_PREVIOUS": "too-short-as-well",
        "SONIOX_API_WEBHOOK_HEADER": "two words",
        "SONIOX_API_BASE_URL": "api.soniox.com",
        "PUBLIC_BASE_URL": "https://" + "a" * 220 + ".example",
        "DATABASE_URL": "mysql://localhost/relay",
        "PORT": "eighty",
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
        "RELAY_API_KEY_FILE": "missing.txt",
        "RELAY_RECONCILE_INTERVAL_S": "0",
        "RELAY_RECONCILE_GRACE_S": "-1",
        "RELAY_MAX_PENDING": "0",
        "RELAY_MAX_REQUESTS_PER_MINUTE": "none",
        "RELAY_DELIVERY_SCHEDULE_S": "5,soon",
        "RELAY_ALLOWED_DESTINATIONS": "10.0.0.0/8,10.0.0.0/99",
        "RELAY_DELIVERY_TIMEOUT_S": "0",
        "RELAY_RETENTION_DAYS": "-1",
        "RELAY_MAX_UPLOAD_BYTES": "1.5",
    }
    environment.delenv("RELAY_API_KEY")
    for name, value in wrong.items():
        environment.setenv(name, value)
    found = problems()
    assert {line.split(":")[0] for line in found} == {name.removesuffix("_FILE") for name in wrong}
    assert len(found) == len(wrong)


def test_names_in_the_env_file_that_are_nearly_settings_are_found() -> None:
    lines = ["RELAY_MAX_PENDNG=5", "SONIOX_KEY=x", "RELAY_URL=http://relay", "relay_retention_days=1", "OTHER=1"]
    Path(".env").write_text("\n".join([*lines, "SONIOX_API_KEY_FILE=key"]))
    assert misspelled() == ["RELAY_MAX_PENDNG", "SONIOX_KEY"]


def test_nothing_set_names_what_is_required() -> None:
    assert problems() == [
        "SONIOX_API_KEY: is required and not set",
        "SONIOX_API_WEBHOOK_SECRET: is required and not set",
    ]


def test_an_empty_variable_is_like_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PORT", "")
    environment.setenv("RELAY_API_KEY", "")
    environment.setenv("RELAY_DELIVERY_SCHEDULE_S", "")
    settings = load_settings()
    assert (settings.port, settings.relay_api_key) == (8000, None)
    assert len(settings.relay_delivery_schedule_s) == 16


@pytest.mark.parametrize(
    "name", ["SONIOX_API_WEBHOOK_SECRET", "SONIOX_API_WEBHOOK_SECRET_PREVIOUS", "RELAY_API_KEY"]
)
@pytest.mark.parametrize(
    "value", ["x", "x" * 23, " " * 30, "change-me-change-me-change-me", "<your-secret-of-24-characters>"]
)
def test_weak_secrets_are_refused_and_not_repeated(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    found = problems()
    assert [line.split(":")[0] for line in found] == [name]
    assert value.strip() == "x" or value not in found[0]


def test_24_characters_are_enough(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SONIOX_API_WEBHOOK_SECRET", "y" * 24)
    assert load_settings().master_secrets == (b"y" * 24,)


def test_the_secrets_must_differ_from_each_other(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RELAY_API_KEY", GOOD["SONIOX_API_WEBHOOK_SECRET"])
    environment.setenv("PORT", "-1")
    found = problems()
    assert "RELAY_API_KEY: must differ from the other secrets" in found
    assert len(found) == 2
    environment.setenv("RELAY_API_KEY", GOOD["RELAY_API_KEY"])
    for other in ("SONIOX_API_WEBHOOK_SECRET", "RELAY_API_KEY"):
        environment.setenv("SONIOX_API_WEBHOOK_SECRET_PREVIOUS", GOOD[other])
        assert "must differ from the other secrets" in str(problems()), other
    environment.delenv("SONIOX_API_WEBHOOK_SECRET_PREVIOUS")
    environment.setenv("SONIOX_API_WEBHOOK_SECRET", GOOD["SONIOX_API_KEY"] + "-and-more")
    environment.setenv("SONIOX_API_KEY", GOOD["SONIOX_API_KEY"] + "-and-more")
    assert "SONIOX_API_WEBHOOK_SECRET: must differ from the other secrets" in problems()


def test_each_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**GOOD, "SONIOX_API_WEBHOOK_SECRET_PREVIOUS": "webhook-secret-of-the-past-00"}
    given["DATABASE_URL"] = "postgresql://relay:password@database/relay"
    for name, value in given.items():
        (tmp_path / name).write_text(value + "\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    settings = load_settings()
    assert settings.soniox_api_key.get_secret_value() == given["SONIOX_API_KEY"]
    assert settings.database_url == given["DATABASE_URL"]
    assert settings.relay_api_key
    assert settings.relay_api_key.get_secret_value() == given["RELAY_API_KEY"]
    assert settings.master_secrets == (
        given["SONIOX_API_WEBHOOK_SECRET"].encode(),
        given["SONIOX_API_WEBHOOK_SECRET_PREVIOUS"].encode(),
    )


def test_the_path_of_a_secret_may_stand_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(GOOD["SONIOX_API_KEY"])
    lines = [f"SONIOX_API_KEY_FILE={tmp_path / 'key'}", f"SONIOX_API_WEBHOOK_SECRET={GOOD['RELAY_API_KEY']}"]
    (tmp_path / ".env").write_text("\n".join(lines))
    assert load_settings().soniox_api_key.get_secret_value() == GOOD["SONIOX_API_KEY"]


def test_files_that_cannot_be_read_are_listed_without_their_content(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bytes").write_bytes(b"secret-\xff\xfe-canary")
    for name, path in (
        ("SONIOX_API_KEY", "nowhere"),
        ("RELAY_API_KEY", "bytes"),
        ("SONIOX_API_WEBHOOK_SECRET", "."),
    ):
        environment.delenv(name)
        environment.setenv(f"{name}_FILE", path)
    found = problems()
    assert {line.split(":")[0] for line in found} == set(GOOD)
    assert "canary" not in str(found)


def test_the_environment_wins_over_the_env_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nHOST=0.0.0.0\nSOMETHING_ELSE=1\n")
    environment.setenv("PORT", "2222")
    settings = load_settings()
    assert (settings.port, settings.host) == (2222, "0.0.0.0")  # noqa: S104  # nothing is bound


def test_no_secret_is_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "postgresql://relay:pa55word@db/relay")
    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert not [value for value in GOOD.values() if value in shown]
    assert "pa55word" not in repr(settings)


def test_a_wrong_value_is_not_repeated_for_it_may_be_a_secret_in_the_wrong_place(
    environment: pytest.MonkeyPatch,
) -> None:
    for name in ("PORT", "DATABASE_URL", "PUBLIC_BASE_URL", "LOG_LEVEL", "RELAY_DELIVERY_SCHEDULE_S"):
        environment.setenv(name, "canary-value")
    assert len(found := problems()) == 5
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h:5432/d",
        "postgresql://u:p@h:5432/d",
        "postgresql+psycopg://u:p@h:5432/d",
        "postgresql+asyncpg://u:p@h:5432/d",
    ],
)
def test_postgresql_is_taken_by_any_of_its_names(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("DATABASE_URL", url)
    settings = load_settings()
    assert not settings.is_sqlite
    assert engine_url(settings.database_url) == "postgresql+asyncpg://u:p@h:5432/d"


def test_the_sslmode_of_other_tools_is_understood() -> None:
    assert engine_url("postgres://u:p%40@h/d?sslmode=require") == "postgresql+asyncpg://u:p%40@h/d?ssl=require"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:relay.db",
        "sqlite://relay.db",
        "relay.db",
        "postgres",
    ],
)
def test_a_database_that_is_none_or_not_durable_is_refused(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("DATABASE_URL", url)
    assert [line.split(":")[0] for line in problems()] == ["DATABASE_URL"]


@pytest.mark.parametrize(
    "given",
    [
        "https://api.soniox.com",
        "https://api.soniox.com/",
        "https://api.soniox.com/v1",
        "https://api.soniox.com/v1/",
    ],
)
def test_sonioxs_address_comes_with_or_without_v1(environment: pytest.MonkeyPatch, given: str) -> None:
    environment.setenv("SONIOX_API_BASE_URL", given)
    assert load_settings().soniox_url == "https://api.soniox.com/v1"


def test_the_webhook_url_may_be_256_characters_long_and_no_longer(environment: pytest.MonkeyPatch) -> None:
    job = "84c32fc6-4fb5-4e7a-b656-b5ec70493753"
    room = 256 - len(f"https:///webhooks/soniox?job={job}")
    environment.setenv("PUBLIC_BASE_URL", "https://" + "a" * room)
    assert len(load_settings().webhook_url(job)) == 256
    environment.setenv("PUBLIC_BASE_URL", "https://" + "a" * (room + 1))
    assert [line.split(":")[0] for line in problems()] == ["PUBLIC_BASE_URL"]


def test_the_webhook_url_names_the_job(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PUBLIC_BASE_URL", "https://relay.example.com/")
    assert load_settings().webhook_url("abc") == "https://relay.example.com/webhooks/soniox?job=abc"


def test_lists_are_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RELAY_ALLOWED_DESTINATIONS", " hooks.internal , 10.0.0.0/8,")
    environment.setenv("RELAY_DELIVERY_SCHEDULE_S", "1, 2.5,30")
    settings = load_settings()
    assert settings.relay_allowed_destinations == ("hooks.internal", "10.0.0.0/8")
    assert settings.relay_delivery_schedule_s == (1, 2.5, 30)


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e300"])
@pytest.mark.parametrize(
    "name",
    [
        "RELAY_RECONCILE_INTERVAL_S",
        "RELAY_RECONCILE_GRACE_S",
        "RELAY_DELIVERY_SCHEDULE_S",
        "RELAY_DELIVERY_TIMEOUT_S",
    ],
)
def test_times_that_never_end_are_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert [line.split(":")[0] for line in problems()] == [name]


@pytest.mark.parametrize("value", ["DEBUG", "Info", "warning"])
def test_words_are_taken_in_any_case(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("LOG_LEVEL", value)
    assert load_settings().log_level == value.lower()
