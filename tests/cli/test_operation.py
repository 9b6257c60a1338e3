"""The verbs of those who run a relay: migrate, healthy, reconcile, purge, and what keeps serve from starting."""

import json
import socket
import sqlite3
import time
from contextlib import closing

import pytest

from service.cli.demo.servers import free_port
from tests.support.command_line import SECRETS, Cli, Installation
from tests.support.waiting import until_now


def test_reconcile_finds_a_lost_webhook_and_a_dry_run_changes_nothing(installation: Installation) -> None:
    user, operator, relay = installation.user, installation.operator, installation.relay
    relay.do(lambda relay_app: relay_app.faults(drop_webhook=True))
    job_id = user("submit", "https://sandbox.invalid/lost.wav").stdout.strip()

    def found() -> list[dict[str, str]]:
        finds = operator.json("reconcile", "--once", "--dry-run", "--json")["transcriptions"]
        return [find for find in finds if find["id"] == job_id and find["soniox_status_now"] == "completed"]

    until_now(lambda: found() != [])
    [seen] = found()
    relay.do(lambda relay_app: relay_app.faults())
    assert seen["local_stage"] == "submitted"
    assert "would" in seen["action"]
    assert user.json("show", job_id, "--json")["stage"] == "submitted"

    table = operator("reconcile", "--once")
    assert job_id in table.stdout
    assert "Soniox says" in table.stdout
    ended = relay.do(lambda relay_app: relay_app.finished(job_id))
    assert ended["status"] == "completed"


def test_reconcile_without_once_is_a_usage_error(cli: Cli) -> None:
    assert cli("reconcile", **SECRETS).returncode == 2


def test_a_health_check_tells_whether_the_process_beside_it_does_its_work(operator: Cli) -> None:
    assert operator("healthy").returncode == 0
    assert operator("healthy", "--worker").returncode == 0
    down = operator("healthy", PORT=str(free_port()))
    assert down.returncode == 1
    assert "no answer on port" in down.stderr


def test_a_worker_without_signs_of_life_is_not_healthy(cli: Cli) -> None:
    assert cli("migrate", **SECRETS).returncode == 0
    never = cli("healthy", "--worker", **SECRETS)
    assert never.returncode == 1
    assert "no worker has started" in never.stderr
    name = f"worker:{socket.gethostname()}:1:abcdef"
    with closing(sqlite3.connect(cli.folder / "relay.db")) as database, database:
        database.execute("INSERT INTO heartbeats (name, at_ms, detail) VALUES (?, 1, '{}')", [name])
    silent = cli("healthy", "--worker", **SECRETS)
    assert silent.returncode == 1
    assert "silent for" in silent.stderr


def test_a_database_that_does_not_answer_is_no_reason_to_restart_a_worker(cli: Cli) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    assert cli("healthy", "--worker", **SECRETS, DATABASE_URL=nowhere).returncode == 0


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("migrate",)], ids=" ".join)
def test_a_folder_that_does_not_exist_is_a_wrong_setting(cli: Cli, command: tuple[str, ...]) -> None:
    done = cli(*command, **SECRETS, DATABASE_URL="sqlite:///nowhere/relay.db")
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr


@pytest.mark.usefixtures("sqlite_url")
def test_a_taken_port_is_told_in_a_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = cli("serve", "--port", str(listener.getsockname()[1]), **SECRETS)
    assert done.returncode == 1
    assert "is taken" in done.stderr


def test_purge_deletes_what_is_older_than_the_retention_and_nothing_else(user: Cli, operator: Cli) -> None:
    old, young = (_completed(user) for _ in range(2))
    long_ago_ms = int((time.time() - 3 * 86_400) * 1000)
    with closing(sqlite3.connect(operator.folder / "relay.db", timeout=10)) as database, database:
        change = "UPDATE transcriptions SET created_at_ms = ?, finished_at_ms = ? WHERE id = ?"
        database.execute(change, (long_ago_ms, long_ago_ms, old))

    assert operator.json("purge", "--json") == {"transcriptions": 0, "retention_days": 0}
    done = operator("purge", "--json", RELAY_RETENTION_DAYS="2")
    assert json.loads(done.stdout) == {"transcriptions": 1, "retention_days": 2}
    assert user("show", old).returncode == 3
    assert user("show", young).returncode == 0


def _completed(user: Cli) -> str:
    """The id of a transcription that has ended."""
    job = user.json("submit", "https://sandbox.invalid/a.wav", "--wait", "--json")
    assert job["status"] == "completed"
    return str(job["id"])
