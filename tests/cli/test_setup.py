"""Help, usage errors, and the verbs that set a relay up: init, config, openapi, keys, doctor."""

import json
import re
import stat

import pytest

from service.cli.demo.servers import free_port
from service.settings import Settings
from tests.support.command_line import SECRETS, Cli
from tests.support.relay_processes import REPOSITORY

SONIOX_KEY = "soniox-key-of-the-cli-tests-0001"
RELAY_KEY = "relay-key-of-the-cli-tests-00001"
VERBS = (
    "serve worker migrate init sandbox demo run submit list show transcript retry delete reconcile openapi config "
    "endpoints deliveries events listen verify keys purge doctor"
)
GROUPS = {
    "endpoints": "add list test pause resume rotate-secret recover remove",
    "deliveries": "list show retry",
    "events": "tail",
    "keys": "create list revoke",
}


def test_every_verb_explains_itself(cli: Cli) -> None:
    listed = cli("--help").stdout
    for verb in VERBS.split():
        assert f" {verb} " in listed
        explained = cli(verb, "--help")
        assert explained.returncode == 0
        assert f"soniox-relay {verb}" in explained.stdout


@pytest.mark.parametrize("group", GROUPS)
def test_every_verb_of_a_group_explains_itself(cli: Cli, group: str) -> None:
    listed = cli(group, "--help").stdout
    for verb in GROUPS[group].split():
        assert f" {verb} " in listed
        explained = cli(group, verb, "--help")
        assert explained.returncode == 0
        assert "--json" in explained.stdout


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("soniox-relay 0.")


def test_an_unknown_verb_or_option_is_a_usage_error(cli: Cli) -> None:
    assert cli("dance").returncode == 2
    assert cli("list", "--colour").returncode == 2


@pytest.mark.parametrize("verb", ["serve", "worker", "migrate", "config"])
def test_every_wrong_setting_is_listed_and_no_secret_is_repeated(cli: Cli, verb: str) -> None:
    wrong = {"SONIOX_API_WEBHOOK_SECRET": "too-short-secret", "PORT": "70000", "RELAY_MAX_PENDING": "none"}
    done = cli(verb, **wrong)
    assert done.returncode == 2
    for name in ("SONIOX_API_KEY", *wrong):
        assert f"  {name}: " in done.stderr
    assert "too-short-secret" not in done.stdout + done.stderr


def test_who_has_set_nothing_is_told_how_to_begin(cli: Cli) -> None:
    assert "soniox-relay init" in cli("serve").stderr
    assert cli("init").returncode == 0
    told = cli("serve").stderr
    assert "soniox-relay init" not in told
    assert "put it into .env" in told


def test_init_writes_fresh_secrets_that_only_the_owner_can_read_and_never_overwrites(cli: Cli) -> None:
    assert cli("init", "--soniox-key", SONIOX_KEY).returncode == 0
    written = cli.folder / ".env"
    first = written.read_text()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600

    assert cli("init").returncode == 1
    assert written.read_text() == first

    assert cli("init", "--force", "--soniox-key", SONIOX_KEY).returncode == 0
    assert written.read_text() != first
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert cli("config").returncode == 0


def test_config_names_the_source_of_each_setting_and_masks_secrets(cli: Cli) -> None:
    cli("init", "--soniox-key", SONIOX_KEY)
    (cli.folder / "key").write_text(RELAY_KEY)
    shown = cli("config", "--json", PORT="8123", DATABASE_URL="postgresql://relay:hidden-word@db/relay")
    settings = json.loads(shown.stdout)
    assert settings["PORT"] == {"value": "8123", "source": "environment"}
    assert settings["HOST"] == {"value": "127.0.0.1", "source": "default"}
    assert settings["SONIOX_API_WEBHOOK_SECRET"]["source"] == ".env"
    assert settings["DATABASE_URL"]["value"] == "postgresql://relay:********@db/relay"
    assert SONIOX_KEY not in shown.stdout
    assert "hidden-word" not in shown.stdout


def test_the_example_file_names_every_setting_and_its_placeholders_are_refused(cli: Cli) -> None:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    given = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line))
    assert given.keys() == {name.upper() for name in Settings.model_fields}

    (cli.folder / ".env").write_text("\n".join(f"{name}={value}" for name, value in given.items()))
    done = cli("config")
    refused = [line.split(":")[0].strip() for line in done.stderr.splitlines()[1:]]
    assert refused == [name for name, value in given.items() if value.startswith("<")]


def test_openapi_needs_no_settings(cli: Cli) -> None:
    assert "/v1/transcriptions" in cli.json("openapi")["paths"]


def test_keys_are_made_listed_and_revoked_through_the_api(user: Cli) -> None:
    made = user.json("keys", "create", "--name", "desk", "--scopes", "read", "--json")
    assert made["scopes"] == ["read"]
    listed = user("keys", "list")
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout
    assert user("list", "--key", made["key"]).returncode == 0
    assert user("keys", "list", "--key", made["key"]).returncode == 1
    assert user("keys", "revoke", made["id"]).returncode == 0
    assert user("list", "--key", made["key"]).returncode == 1
    assert user("keys", "create", "--scopes", "everything").returncode == 2


def test_the_first_key_needs_no_key_and_later_ones_do(cli: Cli) -> None:
    settings = {name: value for name, value in SECRETS.items() if name != "RELAY_API_KEY"}
    first = cli("keys", "create", "--scopes", "admin", **settings)
    assert first.returncode == 0, first.stderr
    key_id, key = first.stdout.split()
    assert key.encode() not in (cli.folder / "relay.db").read_bytes()

    refused = cli("keys", "create", **settings)
    assert (refused.returncode, "--local" in refused.stderr) == (2, True)
    second = cli("keys", "create", "--local", "--json", **settings)
    assert json.loads(second.stdout)["scopes"] == ["read", "submit"]
    assert cli("keys", "revoke", key_id, "--local", **settings).returncode == 0
    left = json.loads(cli("keys", "list", "--local", "--json", **settings).stdout)["keys"]
    assert [one["id"] for one in left] == [json.loads(second.stdout)["id"]]
    assert cli("keys", "revoke", key_id, "--local", **settings).returncode == 3


def test_without_a_relay_or_a_key_the_missing_key_is_told(cli: Cli) -> None:
    done = cli("keys", "list")
    assert (done.returncode, "RELAY_API_KEY" in done.stderr) == (2, True)


def test_a_key_made_on_the_database_is_taken_by_the_running_relay(user: Cli, operator: Cli) -> None:
    made = operator.json("keys", "create", "--local", "--json")
    assert user("list", "--key", made["key"]).returncode == 0


def test_the_doctor_finds_nothing_wrong_with_a_relay_that_works(operator: Cli) -> None:
    report = operator.json("doctor", "--json")
    assert report["ok"]
    names = [check["check"] for check in report["checks"]]
    proven = ["settings", "secrets", "migration", "database", "clock", "soniox"]
    assert names == [*proven, "transcriptions quota", "files quota", "public url"]
    assert not any(secret in json.dumps(report) for secret in SECRETS.values())


def test_the_doctor_names_each_fault_with_its_cure_and_repeats_no_secret(operator: Cli) -> None:
    faults = {
        "SONIOX_API_KEY": "a-key-that-soniox-never-made-001",
        "SONIOX_API_WEBHOOK_SECRET": "abcabcabcabcabcabcabcabcabc",
    }
    done = operator("doctor", "--json", **faults)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    failed = {name: check["cure"] for name, check in checks.items() if not check["ok"]}
    assert failed.keys() == {"secrets", "soniox", "public url"}
    assert "SONIOX_API_KEY" in failed["soniox"]
    assert "401" in checks["public url"]["detail"]
    assert not any(secret in done.stdout + done.stderr for secret in faults.values())


def test_the_doctor_tells_what_is_missing_before_a_first_start(cli: Cli) -> None:
    missing = cli("doctor")
    assert "SONIOX_API_KEY" in missing.stdout
    assert missing.stderr.strip() == "soniox-relay: 2 of 2 checks failed: settings"
    (cli.folder / ".env").write_text("RELAY_MAX_PENDNG=5\n")
    away = f"http://127.0.0.1:{free_port()}"
    done = cli("doctor", **SECRETS, PUBLIC_BASE_URL=away, SONIOX_API_BASE_URL=away)
    assert done.returncode == 1
    assert "RELAY_MAX_PENDNG" in done.stdout
    assert "soniox-relay migrate" in done.stdout
    assert "does not answer" in done.stdout
    assert not (cli.folder / "relay.db").exists()
