"""The command line as its users meet it: real processes, their output and their exit codes."""

import json
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.cli.demo.household import free_port
from service.sandbox.speech import recording_path
from service.settings import Settings
from tests.support.commands import BARE, RELAY_KEY, SECRETS, SONIOX_KEY, Cli, Town, open_town

UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"
VERBS = (
    "serve worker migrate init sandbox demo run submit list show transcript retry delete reconcile openapi config "
    "endpoints deliveries events listen verify keys purge doctor"
)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("cli")) as opened:
        yield opened


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, {})


def test_every_verb_explains_itself(cli: Cli) -> None:
    listed = cli("--help").stdout
    for verb in VERBS.split():
        assert f" {verb} " in listed
        explained = cli(verb, "--help")
        assert explained.returncode == 0
        assert f"soniox-relay {verb}" in explained.stdout


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("soniox-relay 0.")


def test_an_unknown_verb_or_option_is_a_usage_error(cli: Cli) -> None:
    assert cli("dance").returncode == 2
    assert cli("list", "--colour").returncode == 2


def test_every_wrong_setting_is_listed_and_no_secret_is_repeated(cli: Cli) -> None:
    wrong = {"SONIOX_API_WEBHOOK_SECRET": "too-short-secret", "PORT": "70000", "RELAY_MAX_PENDING": "none"}
    for verb in ("serve", "worker", "migrate", "config"):
        done = cli(verb, **wrong)
        assert done.returncode == 2
        for name in ("SONIOX_API_KEY", *wrong):
            assert f"  {name}: " in done.stderr
        assert "too-short-secret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


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
    lines = (Path(__file__).parent.parent / ".env.example").read_text().splitlines()
    given = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line))
    assert given.keys() == {name.upper() for name in Settings.model_fields}

    (cli.folder / ".env").write_text("\n".join(f"{name}={value}" for name, value in given.items()))
    done = cli("config")
    refused = [line.split(":")[0].strip() for line in done.stderr.splitlines()[1:]]
    assert refused == [name for name, value in given.items() if value.startswith("<")]


def test_openapi_needs_no_settings(cli: Cli) -> None:
    assert "/v1/transcriptions" in cli.json("openapi")["paths"]


def test_a_file_becomes_a_transcript_on_a_clean_stdout(town: Town) -> None:
    done = town.user("submit", str(recording_path()), "--wait", "--metadata", '{"case": 7}')
    assert done.returncode == 0, done.stderr
    job = town.user.json("list", "--limit", "1", "--json")["transcriptions"][0]
    assert job["metadata"] == {"case": 7}
    assert done.stdout == town.user("transcript", job["id"]).stdout
    assert done.stdout.strip()


@pytest.mark.parametrize(("shape", "sign"), [("srt", "00:00:00,"), ("vtt", "WEBVTT"), ("json", '"tokens"')])
def test_a_transcript_is_printed_in_the_format_asked_for(town: Town, shape: str, sign: str) -> None:
    done = town.user("submit", "https://sandbox.invalid/tokens=30", "--wait", "--format", shape)
    assert done.returncode == 0, done.stderr
    assert sign in done.stdout


def test_a_job_can_be_submitted_shown_and_deleted(town: Town) -> None:
    job_id = town.user("submit", "https://sandbox.invalid/a.wav", "--reference", "order-1").stdout.strip()
    job = town.user.json("show", job_id, "--json")
    assert (job["id"], job["client_reference_id"]) == (job_id, "order-1")
    shown = town.user("show", job_id).stdout
    assert job_id in shown
    assert "accepted" in shown
    assert job_id in town.user("list").stdout

    assert town.user.json("delete", job_id, "--json") == {"id": job_id, "deleted": True}
    assert town.user("show", job_id).returncode == 3


def test_what_does_not_exist_is_not_found(town: Town) -> None:
    for verb in ("show", "transcript", "retry", "delete"):
        for job_id in (UNKNOWN_ID, "../livez"):
            done = town.user(verb, job_id)
            assert done.returncode == 3
            assert "Traceback" not in done.stderr


def test_a_failed_transcription_is_explained_and_can_be_tried_again(town: Town) -> None:
    failing = "https://sandbox.invalid/outcome=error:invalid_audio_file"
    done = town.user("submit", failing, "--wait")
    assert done.returncode == 1
    assert "invalid_audio_file" in done.stderr
    job_id = town.user.json("list", "--limit", "1", "--json")["transcriptions"][0]["id"]
    assert town.user("transcript", job_id).returncode == 1
    assert town.user.json("retry", job_id, "--json")["id"] == job_id


def test_waiting_longer_than_told_to_is_a_time_out(town: Town) -> None:
    done = town.user("submit", "https://sandbox.invalid/stuck", "--wait", "--timeout", "0.5")
    assert done.returncode == 4
    assert "soniox-relay show" in done.stderr


def test_senseless_arguments_of_submit_are_usage_errors(town: Town) -> None:
    assert town.user("submit", "no-such-file.wav").returncode == 2
    assert town.user("submit", str(recording_path()), "--metadata", "[1]").returncode == 2
    assert town.user("submit", str(recording_path()), "--format", "docx").returncode == 2


def test_a_missing_or_wrong_key_and_a_silent_relay_are_told_in_a_line_with_the_cure(town: Town) -> None:
    nobody = Cli(town.user.folder, {})
    missing = nobody("list")
    assert (missing.returncode, "RELAY_API_KEY" in missing.stderr) == (2, True)
    wrong = nobody("list", "--key", "a-key-that-nobody-ever-made-0001", "--url", town.relay_url)
    assert (wrong.returncode, "--key" in wrong.stderr) == (1, True)
    silent = nobody("list", "--key", RELAY_KEY, "--url", f"http://127.0.0.1:{free_port()}")
    assert (silent.returncode, "soniox-relay serve" in silent.stderr) == (1, True)
    for done in (missing, wrong, silent):
        assert len(done.stderr.splitlines()) <= 2


def test_reconcile_finds_a_lost_webhook_and_a_dry_run_changes_nothing(town: Town) -> None:
    town.faults(drop_webhook=True)
    job_id = town.user("submit", "https://sandbox.invalid/lost.wav").stdout.strip()
    seen: list[dict[str, str]] = []
    deadline = time.monotonic() + 15
    while not seen and time.monotonic() < deadline:
        finds = town.operator.json("reconcile", "--once", "--dry-run", "--json")["transcriptions"]
        seen = [find for find in finds if find["id"] == job_id and find["soniox_says"] == "completed"]
    town.faults()
    assert seen[0]["we_think"] == "submitted"
    assert "would" in seen[0]["action"]
    assert town.user.json("show", job_id, "--json")["stage"] == "submitted"

    table = town.operator("reconcile", "--once")
    assert job_id in table.stdout
    assert "Soniox says" in table.stdout
    ended = httpx.get(
        f"{town.relay_url}/v1/transcriptions/{job_id}",
        params={"wait": 10},
        headers={"Authorization": f"Bearer {RELAY_KEY}"},
        timeout=15,
        trust_env=False,
    ).json()
    assert ended["status"] == "completed"


def test_who_has_set_nothing_is_told_how_to_begin(cli: Cli) -> None:
    assert "soniox-relay init" in cli("serve").stderr
    assert cli("init").returncode == 0
    told = cli("serve").stderr
    assert "soniox-relay init" not in told
    assert "put it into .env" in told


def test_reconcile_without_once_is_a_usage_error(cli: Cli) -> None:
    assert cli("reconcile", **SECRETS).returncode == 2


def test_a_taken_port_is_told_in_a_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = cli("serve", "--port", str(listener.getsockname()[1]), **SECRETS)
    assert done.returncode == 1
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_relay_on_the_same_sqlite_file_is_refused(town: Town) -> None:
    for command in (["serve", "--port", "0"], ["worker"]):
        done = town.operator(*command)
        assert done.returncode == 2
        assert "another relay process" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_health_check_tells_whether_the_process_beside_it_does_its_work(town: Town) -> None:
    assert town.operator("healthy").returncode == 0
    assert town.operator("healthy", "--worker").returncode == 0
    down = town.operator("healthy", PORT=str(free_port()))
    assert down.returncode == 1
    assert "no answer on port" in down.stderr


def test_a_worker_without_signs_of_life_is_not_healthy(cli: Cli) -> None:
    assert cli("migrate", **SECRETS).returncode == 0
    never = cli("healthy", "--worker", **SECRETS)
    assert never.returncode == 1
    assert "no worker has started" in never.stderr
    with sqlite3.connect(cli.folder / "relay.db") as database:
        name = f"worker:{socket.gethostname()}:1:abcdef"
        database.execute("INSERT INTO heartbeats (name, at_ms, detail) VALUES (?, 1, '{}')", [name])
    database.close()
    silent = cli("healthy", "--worker", **SECRETS)
    assert silent.returncode == 1
    assert "silent for" in silent.stderr


def test_a_database_that_does_not_answer_is_no_reason_to_restart_a_worker(cli: Cli) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    assert cli("healthy", "--worker", **SECRETS, DATABASE_URL=nowhere).returncode == 0


def test_an_old_schema_is_refused_until_it_is_migrated(cli: Cli) -> None:
    assert cli("migrate", **SECRETS).returncode == 0
    with sqlite3.connect(cli.folder / "relay.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    database.close()
    for command in (["serve", "--port", "0"], ["worker"], ["reconcile", "--once"]):
        done = cli(*command, **SECRETS)
        assert done.returncode == 2
        assert "soniox-relay migrate" in done.stderr


def test_a_folder_that_does_not_exist_is_a_wrong_setting(cli: Cli) -> None:
    for command in (["serve", "--port", "0"], ["migrate"]):
        done = cli(*command, **SECRETS, DATABASE_URL="sqlite:///nowhere/relay.db")
        assert done.returncode == 2
        assert "DATABASE_URL" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serve_sets_up_a_new_database_and_a_signal_ends_it_in_order(tmp_path: Path, ending: int) -> None:
    port = free_port()
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter
            [sys.executable, "-m", "service", "serve", "--port", str(port)],
            cwd=tmp_path,
            env=BARE | SECRETS | {"SONIOX_API_BASE_URL": f"http://127.0.0.1:{free_port()}"},
            stderr=log,
        )
    try:
        _wait_until_alive(port)
        began = time.monotonic()
        process.send_signal(ending)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert time.monotonic() - began < 10
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


def _wait_until_alive(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez", timeout=20, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("the relay does not answer")
