"""The verbs about endpoints, deliveries, events, keys, signatures and retention, as their users meet them."""

import base64
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from service.cli.demo.household import free_port
from service.cli.demo.receiver import open_receiver
from tests.support.commands import RELAY_KEY, SECRETS, Cli, Town, open_town

GROUPS = {
    "endpoints": "add list test pause resume rotate-secret recover remove",
    "deliveries": "list show retry",
    "events": "tail",
    "keys": "create list revoke",
}
UNUSUAL = "one\u2028two\x85three"  # what Unicode, but not the event stream, takes for ends of lines
RESULTS = "transcription.completed"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
EVENT_ID = "evt_of_the_cli_tests"
BODY = '{"type":"ping"}'


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("cli")) as opened:
        yield opened


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, {})


def test_every_verb_of_a_group_explains_itself(cli: Cli) -> None:
    for group, verbs in GROUPS.items():
        listed = cli(group, "--help").stdout
        for verb in verbs.split():
            assert f" {verb} " in listed
    for command in (
        ["endpoints", "rotate-secret"],
        ["deliveries", "retry"],
        ["events", "tail"],
        ["keys", "create"],
    ):
        explained = cli(*command, "--help")
        assert explained.returncode == 0
        assert "--json" in explained.stdout


def test_an_endpoint_is_added_tried_out_paused_resumed_and_removed(town: Town) -> None:
    with open_receiver("127.0.0.1") as receiver:
        added = town.user.json("endpoints", "add", receiver.url, "--types", "ping,transcription.failed", "--json")
        assert (added["event_types"], added["include"]) == (["ping", "transcription.failed"], "none")
        tried = town.user.json("endpoints", "test", added["id"], "--json")
        assert (tried["delivered"], tried["attempt"]["status_code"]) == (True, 204)
        assert receiver.next_one(5).verified(added["secret"])["type"] == "ping"

    listed = town.user("endpoints", "list")
    assert added["id"] in listed.stdout
    assert "whsec_" not in listed.stdout
    assert town.user.json("endpoints", "pause", added["id"], "--json")["enabled"] is False
    assert town.user.json("endpoints", "resume", added["id"], "--json")["enabled"] is True

    unheard = town.user("endpoints", "test", added["id"])
    assert (unheard.returncode, len(unheard.stderr.splitlines())) == (1, 1)
    assert town.user("endpoints", "remove", added["id"]).returncode == 0
    assert town.user("endpoints", "test", added["id"]).returncode == 3


def test_a_rotated_secret_signs_beside_the_old_one(town: Town) -> None:
    with open_receiver("127.0.0.1") as receiver:
        endpoint_id, old = town.user("endpoints", "add", receiver.url).stdout.split()
        rotated = town.user("endpoints", "rotate-secret", endpoint_id).stdout.split()
        assert rotated[0] == endpoint_id
        assert rotated[1] != old
        assert town.user("endpoints", "test", endpoint_id).returncode == 0
        ping = receiver.next_one(5)
        for secret in (old, rotated[1]):
            assert ping.verified(secret)["type"] == "ping"
    town.user("endpoints", "remove", endpoint_id)


def test_a_delivery_is_listed_shown_sent_again_and_recovered(town: Town) -> None:
    with open_receiver("127.0.0.1") as receiver:
        endpoint_id, secret = town.user("endpoints", "add", receiver.url, "--include", "text").stdout.split()
        job_id = town.user("submit", "https://sandbox.invalid/a.wav").stdout.strip()
        first = receiver.next_one(20)
        assert first.verified(secret)["data"]["id"] == job_id

        found = _eventually(
            lambda: town.user.json(
                *("deliveries", "list", "--endpoint", endpoint_id, "--status", "delivered", "--json")
            )["deliveries"]
        )
        assert [one["event_id"] for one in found] == [first.event_id]
        shown = town.user("deliveries", "show", found[0]["id"]).stdout
        assert "204" in shown

        assert town.user("deliveries", "retry", found[0]["id"]).returncode == 0
        assert receiver.next_one(20).event_id == first.event_id
        order = ("endpoints", "recover", endpoint_id, "--since", "2020-01-01T00:00Z")
        counted = town.user.json(*order, "--dry-run", "--json")
        assert (counted["dry_run"], counted["count"]) == (True, 0)
        assert "0 deliveries are sent again" in town.user(*order).stdout
    town.user("endpoints", "remove", endpoint_id)


def test_lists_are_filtered_and_a_senseless_filter_is_a_usage_error(town: Town) -> None:
    job_id = town.user("submit", "https://sandbox.invalid/a.wav", "--reference", "f-1", "--wait", "--json")
    wanted = json.loads(job_id.stdout)["id"]
    chosen = ("list", "--status", "completed", "--stage", "completed,failed", "--reference", "f-1")
    page = town.user.json(*chosen, "--created-after", "2020-01-01", "--order", "asc", "--json")
    assert [job["id"] for job in page["transcriptions"]] == [wanted]
    assert town.user.json(*chosen, "--created-before", "2020-01-01", "--json")["transcriptions"] == []
    for wrong in (["--status", "done"], ["--created-after", "yesterday"], ["--cursor", "nonsense"]):
        done = town.user("list", *wrong)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    assert town.user("endpoints", "add", "https://example.com", "--types", "nonsense").returncode == 2


def test_what_does_not_exist_is_not_found_by_any_verb(town: Town) -> None:
    for command in (
        ["endpoints", "pause", "ep_0"],
        ["endpoints", "remove", "../livez"],
        ["endpoints", "recover", "ep_0", "--since", "2026-01-01"],
        ["deliveries", "show", "dlv_0"],
        ["deliveries", "retry", "dlv_0"],
        ["keys", "revoke", "key_0"],
    ):
        done = town.user(*command)
        assert done.returncode == 3, command
        assert len(done.stderr.splitlines()) == 1


def test_tailing_goes_on_where_it_was_when_the_relay_is_killed_and_comes_back(town: Town) -> None:
    with town.user.running(
        "events", "tail", "--json", "--after", "", "--types", "transcription.completed"
    ) as tail:
        before = _submit(town, {"text": UNUSUAL})
        assert _read_until(tail, before)[-1]["data"]["metadata"] == {"text": UNUSUAL}
        town.relay.kill()
        town.relay.start()
        town.relay.wait_until_ready()
        after = _submit(town, {})
        seen = _read_until(tail, after)
        assert [event["data"]["id"] for event in seen] == [after]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(30) == 0


def test_listen_forwards_each_event_signed_with_the_secret_it_prints(town: Town) -> None:
    with (
        open_receiver("127.0.0.1") as receiver,
        town.user.running(
            *("listen", "--forward-to", receiver.url, "--types", RESULTS, "--after", "", "--json")
        ) as listening,
    ):
        secret = json.loads(_line(listening))["secret"]
        job_id = _submit(town, {"text": UNUSUAL})
        came = receiver.next_one(20)
        while came.verified(secret)["data"]["id"] != job_id:
            came = receiver.next_one(20)
        outcome = json.loads(_line(listening))
        while outcome["event_id"] != came.event_id:
            outcome = json.loads(_line(listening))
        assert outcome["status_code"] == 204
        stored = httpx.get(
            f"{town.relay_url}/v1/events",
            headers={"Authorization": f"Bearer {RELAY_KEY}"},
            trust_env=False,
        ).json()["events"]
        event = next(one for one in stored if one["id"] == came.event_id)
        assert {"id": came.event_id, **json.loads(came.body)} == event


def test_listen_goes_on_when_nobody_takes_an_event(town: Town) -> None:
    target = f"http://127.0.0.1:{free_port()}/"
    with town.user.running("listen", "--forward-to", target, "--after", "", "--json") as listening:
        _line(listening)
        for _ in range(2):
            job_id = _submit(town, {})
            outcome = json.loads(_line(listening))
            while outcome["event_id"] not in _event_ids(town, job_id):
                outcome = json.loads(_line(listening))
            assert (outcome["status_code"], outcome["error"]) == (None, "nobody listens there")
    assert town.user("listen", "--forward-to", "localhost:3000").returncode == 2


def test_a_signature_is_verified_by_hand_and_the_failing_step_is_named(cli: Cli) -> None:
    (cli.folder / "body").write_text(BODY)
    good = _signed(int(time.time()))
    assert cli("verify", "body", *good, WEBHOOK_SECRET=SECRET).returncode == 0
    assert cli("verify", *good, "--secret", SECRET, given=BODY).returncode == 0

    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    assert _failing(cli, good, other, BODY) == ["signature"]
    assert _failing(cli, good, SECRET, BODY + " ") == ["signature"]
    assert _failing(cli, good, "whsec_not base64", BODY) == ["secret"]
    assert _failing(cli, [*good[:2], "--timestamp", "today", *good[4:]], SECRET, BODY) == ["timestamp"]
    assert _failing(cli, [*good[:4], "--signature", "v2,abc"], SECRET, BODY) == ["signature's form"]
    old = _signed(int(time.time()) - 3600)
    assert _failing(cli, old, SECRET, BODY) == ["age"]
    assert cli("verify", *old, "--secret", SECRET, "--tolerance", "0", given=BODY).returncode == 0


def test_verify_recognises_a_changed_line_break_and_takes_one_of_several_signatures(cli: Cli) -> None:
    now_s = int(time.time())
    done = cli("verify", *_signed(now_s), "--secret", SECRET, given=BODY + "\n")
    assert (done.returncode, "line break" in done.stderr) == (1, True)
    options = _signed(now_s)
    several = [*options[:4], "--signature", f"v1,{base64.b64encode(b'x' * 32).decode()} {options[5]}"]
    assert cli("verify", *several, "--secret", SECRET, given=BODY).returncode == 0
    assert cli("verify", *options, given=BODY).returncode == 2
    assert cli("verify", "no-such-file", *options, "--secret", SECRET).returncode == 2


def test_keys_are_made_listed_and_revoked_through_the_api(town: Town) -> None:
    made = town.user.json("keys", "create", "--name", "desk", "--scopes", "read", "--json")
    assert made["scopes"] == ["read"]
    listed = town.user("keys", "list")
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout
    assert town.user("list", "--key", made["key"]).returncode == 0
    assert town.user("keys", "list", "--key", made["key"]).returncode == 1
    assert town.user("keys", "revoke", made["id"]).returncode == 0
    assert town.user("list", "--key", made["key"]).returncode == 1
    assert town.user("keys", "create", "--scopes", "everything").returncode == 2


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


def test_a_key_made_on_the_database_is_taken_by_the_running_relay(town: Town) -> None:
    made = town.operator.json("keys", "create", "--local", "--json")
    assert town.user("list", "--key", made["key"]).returncode == 0


def test_purge_deletes_what_is_older_than_the_retention_and_nothing_else(town: Town) -> None:
    old, young = _submit(town, {}), _submit(town, {})
    for job_id in (old, young):
        _eventually(lambda job_id=job_id: town.user.json("show", job_id, "--json")["status"] == "completed")
    with sqlite3.connect(town.operator.folder / "relay.db", timeout=10) as database:
        long_ago = (time.time() - 3 * 86_400) * 1000
        change = "UPDATE transcriptions SET created_at_ms = ?, finished_at_ms = ? WHERE id = ?"
        database.execute(change, (int(long_ago), int(long_ago), old))
    database.close()

    assert town.operator.json("purge", "--json") == {"transcriptions": 0, "retention_days": 0}
    done = town.operator("purge", "--json", RELAY_RETENTION_DAYS="2")
    assert json.loads(done.stdout) == {"transcriptions": 1, "retention_days": 2}
    assert town.user("show", old).returncode == 3
    assert town.user("show", young).returncode == 0


def test_the_doctor_finds_nothing_wrong_with_a_relay_that_works(town: Town) -> None:
    report = town.operator.json("doctor", "--json")
    assert report["ok"]
    names = [check["check"] for check in report["checks"]]
    proven = ["settings", "secrets", "migration", "database", "clock", "soniox"]
    assert names == [*proven, "transcriptions quota", "files quota", "public url"]
    assert not any(secret in json.dumps(report) for secret in SECRETS.values())


def test_the_doctor_names_each_fault_with_its_cure_and_repeats_no_secret(town: Town) -> None:
    faults = {
        "SONIOX_API_KEY": "a-key-that-soniox-never-made-001",
        "SONIOX_API_WEBHOOK_SECRET": "abcabcabcabcabcabcabcabcabc",
    }
    done = town.operator("doctor", "--json", **faults)
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


def _submit(town: Town, metadata: dict[str, Any]) -> str:
    body = {"model": "stt-async-v5", "audio_url": "https://sandbox.invalid/a.wav", "metadata": metadata}
    headers = {"Authorization": f"Bearer {RELAY_KEY}"}
    answer = httpx.post(f"{town.relay_url}/v1/transcriptions", json=body, headers=headers, trust_env=False)
    return str(answer.raise_for_status().json()["id"])


def _event_ids(town: Town, job_id: str) -> set[str]:
    headers = {"Authorization": f"Bearer {RELAY_KEY}"}
    params = {"limit": 1000}
    answer = httpx.get(f"{town.relay_url}/v1/events", params=params, headers=headers, trust_env=False)
    return {event["id"] for event in answer.json()["events"] if event["data"].get("id") == job_id}


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def _read_until(process: "subprocess.Popen[str]", job_id: str) -> list[dict[str, Any]]:
    """The events up to the one about this job."""
    seen: list[dict[str, Any]] = [json.loads(_line(process))]
    while seen[-1]["data"]["id"] != job_id:
        seen.append(json.loads(_line(process)))
    return seen


def _eventually(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _signed(at_s: int) -> list[str]:
    """The options, made by the library that receivers would use."""
    signature = Webhook(SECRET).sign(EVENT_ID, datetime.fromtimestamp(at_s, UTC), BODY)
    return ["--id", EVENT_ID, "--timestamp", str(at_s), "--signature", signature]


def _failing(cli: Cli, options: list[str], secret: str, body: str) -> list[str]:
    """The names of the steps that fail."""
    done = cli("verify", *options, "--secret", secret, "--json", given=body)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    shown = json.loads(done.stdout)
    assert shown["verified"] is False
    return [step["step"] for step in shown["steps"] if not step["ok"]]
