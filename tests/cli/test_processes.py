"""Commands as processes: exit codes, signals, broken pipes and connections, and two relays that must not meet."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.cli.demo.receiver import open_receiver
from service.cli.demo.servers import ServerProcess, free_port
from tests.support.command_line import BARE, SCRIPT, SECRETS, Cli, Installation, Running
from tests.support.relay_app import ADMIN_KEY, AUDIO, RelayApp

RESULTS = "transcription.completed"
UNUSUAL = "one\u2028two\x85three"  # what Unicode, but not the event stream, takes for ends of lines


def test_the_console_script_prints_its_help_and_gives_back_exit_codes(user: Cli) -> None:
    helped = user.process("--help", program=SCRIPT)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert " submit " in helped.stdout
    unknown = user.process("show", "../livez", program=SCRIPT)
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert unknown.stderr.startswith("soniox-relay: ")
    assert len(unknown.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_ends_a_command_without_a_traceback(user: Cli) -> None:
    with user.running("events", "tail", "--after", "") as tail:
        _submit(user, {})
        assert _line(tail)
        assert tail.stdout
        tail.stdout.close()
        _submit(user, {})
        assert tail.wait(30) == 1
        assert _errors(tail) == ""


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)], ids=" ".join)
def test_a_second_relay_on_the_same_sqlite_file_is_refused(operator: Cli, command: tuple[str, ...]) -> None:
    done = operator.process(*command)
    assert done.returncode == 2
    assert "another relay process" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("sqlite_url")
def test_an_old_schema_is_refused_until_it_is_migrated(tmp_path: Path) -> None:
    cli = Cli(tmp_path, SECRETS)
    with closing(sqlite3.connect(cli.folder / "relay.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    told = [
        cli.process("serve", "--port", "0"),
        cli.process("worker"),
        cli("reconcile", "--once"),
    ]
    for done in told:
        assert done.returncode == 2
        assert "soniox-relay migrate" in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serve_sets_up_a_new_database_and_a_signal_ends_it_in_order(tmp_path: Path, ending: int) -> None:
    port = str(free_port())
    nowhere = f"http://127.0.0.1:{free_port()}"
    cli = Cli(tmp_path, SECRETS | {"SONIOX_API_BASE_URL": nowhere, "PORT": port})
    with cli.running("serve") as relay:
        assert relay.stderr
        assert any("relay_started" in line for line in relay.stderr)
        assert cli("healthy").returncode == 0
        relay.send_signal(ending)
        assert relay.wait(10) == 0
        assert "Traceback" not in _errors(relay)


def test_tailing_goes_on_where_it_was_when_the_relay_is_killed_and_comes_back(
    installation: Installation, sqlite_url: str
) -> None:
    with (
        relay_process(installation, sqlite_url) as (relay, user),
        user.running("events", "tail", "--json", "--after", "", "--types", RESULTS) as tail,
    ):
        before = _submit(user, {"text": UNUSUAL})
        assert _read_until(tail, before)[-1]["data"]["metadata"] == {"text": UNUSUAL}
        relay.kill()
        relay.start()
        relay.wait_until_ready()
        after = _submit(user, {})
        seen = _read_until(tail, after)
        assert [event["data"]["id"] for event in seen] == [after]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(30) == 0


def test_listen_forwards_each_event_signed_with_the_secret_it_prints(installation: Installation) -> None:
    user = installation.user
    with (
        open_receiver("127.0.0.1") as receiver,
        user.running(
            *("listen", "--forward-to", receiver.url, "--types", RESULTS, "--after", "", "--json")
        ) as listening,
    ):
        secret = json.loads(_line(listening))["secret"]
        job_id = _submit(user, {"text": UNUSUAL})
        came = receiver.next_one(20)
        while came.verified(secret)["data"]["id"] != job_id:
            came = receiver.next_one(20)
        outcome = json.loads(_line(listening))
        while outcome["event_id"] != came.event_id:
            outcome = json.loads(_line(listening))
        assert outcome["status_code"] == 204
        event = next(one for one in _events(installation) if one["id"] == came.event_id)
        assert {"id": came.event_id, **json.loads(came.body)} == event
        listening.send_signal(signal.SIGINT)
        assert listening.wait(30) == 0


def test_listen_goes_on_when_nobody_takes_an_event(installation: Installation) -> None:
    user = installation.user
    target = f"http://127.0.0.1:{free_port()}/"
    with user.running("listen", "--forward-to", target, "--after", "", "--json") as listening:
        _line(listening)
        for _ in range(2):
            job_id = _submit(user, {})
            outcome = json.loads(_line(listening))
            while outcome["event_id"] not in _ids_of_events(installation, job_id):
                outcome = json.loads(_line(listening))
            assert (outcome["status_code"], outcome["error"]) == (None, "nothing listens there")
    assert user("listen", "--forward-to", "localhost:3000").returncode == 2


@contextmanager
def relay_process(installation: Installation, database_url: str) -> Iterator[tuple[ServerProcess, Cli]]:
    """A relay that can be killed, beside the other one's Soniox, and a user of it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = installation.operator.variables | {"DATABASE_URL": database_url, "PORT": str(port)}
    folder = Path(database_url.removeprefix("sqlite:///")).parent
    relay = ServerProcess("relay", ["serve"], folder, BARE | settings, f"{url}/readyz")
    relay.start()
    try:
        relay.wait_until_ready()
        yield relay, Cli(folder, {"RELAY_API_KEY": ADMIN_KEY, "RELAY_URL": url})
    finally:
        relay.end()


def _submit(user: Cli, metadata: dict[str, Any]) -> str:
    done = user("submit", AUDIO, "--metadata", json.dumps(metadata))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _events(installation: Installation) -> list[dict[str, Any]]:
    """All that the relay has stored."""

    async def read(relay_app: RelayApp) -> list[dict[str, Any]]:
        return list((await relay_app.client.get("/v1/events", params={"limit": 1000})).json()["events"])

    return installation.relay.do(read)


def _ids_of_events(installation: Installation, job_id: str) -> set[str]:
    return {event["id"] for event in _events(installation) if event["data"].get("id") == job_id}


def _line(process: Running) -> str:
    assert process.stdout
    return process.stdout.readline()


def _errors(process: Running) -> str:
    assert process.stderr
    return process.stderr.read()


def _read_until(process: Running, job_id: str) -> list[dict[str, Any]]:
    """The events up to the one about this job."""
    seen: list[dict[str, Any]] = [json.loads(_line(process))]
    while seen[-1]["data"]["id"] != job_id:
        seen.append(json.loads(_line(process)))
    return seen
