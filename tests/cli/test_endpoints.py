"""The verbs about endpoints, deliveries and signatures."""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.cli.demo.receiver import DemoReceiver, Notification, open_receiver
from tests.support.command_line import Cli
from tests.support.waiting import until_now

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
EVENT_ID = "evt_of_the_cli_tests"
BODY = '{"type":"ping"}'


def test_an_endpoint_is_added_tried_out_paused_resumed_and_removed(user: Cli) -> None:
    with open_receiver("127.0.0.1") as receiver:
        added = user.json("endpoints", "add", receiver.url, "--types", "ping,transcription.failed", "--json")
        assert (added["event_types"], added["include"]) == (["ping", "transcription.failed"], "none")
        tried = user.json("endpoints", "test", added["id"], "--json")
        assert (tried["delivered"], tried["attempt"]["status_code"]) == (True, 204)
        assert receiver.next_one(5).verified(added["secret"])["type"] == "ping"

    listed = user("endpoints", "list")
    assert added["id"] in listed.stdout
    assert "whsec_" not in listed.stdout
    assert user.json("endpoints", "pause", added["id"], "--json")["enabled"] is False
    assert user.json("endpoints", "resume", added["id"], "--json")["enabled"] is True

    unheard = user("endpoints", "test", added["id"])
    assert (unheard.returncode, len(unheard.stderr.splitlines())) == (1, 1)
    assert user("endpoints", "remove", added["id"]).returncode == 0
    assert user("endpoints", "test", added["id"]).returncode == 3


def test_a_rotated_secret_signs_beside_the_old_one(user: Cli) -> None:
    with open_receiver("127.0.0.1") as receiver:
        endpoint_id, old = user("endpoints", "add", receiver.url, "--types", "ping").stdout.split()
        rotated = user("endpoints", "rotate-secret", endpoint_id).stdout.split()
        assert rotated[0] == endpoint_id
        assert rotated[1] != old
        assert user("endpoints", "test", endpoint_id).returncode == 0
        ping = receiver.next_one(5)
        for secret in (old, rotated[1]):
            assert ping.verified(secret)["type"] == "ping"
    user("endpoints", "remove", endpoint_id)


def test_a_delivery_is_listed_shown_sent_again_and_recovered(user: Cli) -> None:
    with open_receiver("127.0.0.1") as receiver:
        endpoint_id, secret = user("endpoints", "add", receiver.url, "--include", "text").stdout.split()
        job_id = user("submit", "https://sandbox.invalid/a.wav").stdout.strip()
        first = _next_about(receiver, secret, job_id)

        def delivered() -> list[dict[str, Any]]:
            chosen = ("--endpoint", endpoint_id, "--status", "delivered")
            listed = user.json("deliveries", "list", *chosen, "--json")["deliveries"]
            return [one for one in listed if one["event_id"] == first.event_id]

        until_now(lambda: delivered() != [])
        [found] = delivered()
        assert "204" in user("deliveries", "show", found["id"]).stdout

        assert user("deliveries", "retry", found["id"]).returncode == 0
        assert _next_about(receiver, secret, job_id).event_id == first.event_id
        order = ("endpoints", "recover", endpoint_id, "--since", "2020-01-01T00:00Z")
        counted = user.json(*order, "--dry-run", "--json")
        assert (counted["dry_run"], counted["count"]) == (True, 0)
        assert "0 deliveries are sent again" in user(*order).stdout
    user("endpoints", "remove", endpoint_id)


def _next_about(receiver: DemoReceiver, secret: str, job_id: str) -> Notification:
    """The next notification of this job; others may be under way."""
    came = receiver.next_one(20)
    while came.verified(secret)["data"]["id"] != job_id:
        came = receiver.next_one(20)
    return came


def test_an_unknown_type_of_event_is_a_usage_error(user: Cli) -> None:
    assert user("endpoints", "add", "https://example.com", "--types", "nonsense").returncode == 2


@pytest.mark.parametrize(
    "command",
    [
        ("endpoints", "pause", "ep_0"),
        ("endpoints", "remove", "../livez"),
        ("endpoints", "recover", "ep_0", "--since", "2026-01-01"),
        ("deliveries", "show", "dlv_0"),
        ("deliveries", "retry", "dlv_0"),
        ("keys", "revoke", "key_0"),
    ],
    ids=" ".join,
)
def test_what_does_not_exist_is_not_found_by_any_verb(user: Cli, command: tuple[str, ...]) -> None:
    done = user(*command)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


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
