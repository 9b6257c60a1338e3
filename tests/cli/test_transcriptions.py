"""The verbs about transcriptions: submit, list, show, transcript, retry, delete."""

import json

import pytest

from service.cli.demo.servers import free_port
from service.sandbox.speech import recording_path
from tests.support.command_line import Cli, Installation
from tests.support.relay_app import ADMIN_KEY

UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"


def test_a_file_becomes_a_transcript_on_a_clean_stdout(user: Cli) -> None:
    done = user("submit", str(recording_path()), "--wait", "--metadata", '{"case": 7}')
    assert done.returncode == 0, done.stderr
    job = user.json("list", "--limit", "1", "--json")["transcriptions"][0]
    assert job["metadata"] == {"case": 7}
    assert done.stdout == user("transcript", job["id"]).stdout
    assert done.stdout.strip()


@pytest.mark.parametrize(("shape", "sign"), [("srt", "00:00:00,"), ("vtt", "WEBVTT"), ("json", '"tokens"')])
def test_a_transcript_is_printed_in_the_format_asked_for(user: Cli, shape: str, sign: str) -> None:
    done = user("submit", "https://sandbox.invalid/tokens=30", "--wait", "--format", shape)
    assert done.returncode == 0, done.stderr
    assert sign in done.stdout


def test_a_job_can_be_submitted_shown_and_deleted(user: Cli) -> None:
    job_id = user("submit", "https://sandbox.invalid/a.wav", "--reference", "order-1").stdout.strip()
    job = user.json("show", job_id, "--json")
    assert (job["id"], job["client_reference_id"]) == (job_id, "order-1")
    shown = user("show", job_id).stdout
    assert job_id in shown
    assert "accepted" in shown
    assert job_id in user("list").stdout

    assert user.json("delete", job_id, "--json") == {"id": job_id, "deleted": True}
    assert user("show", job_id).returncode == 3


@pytest.mark.parametrize("verb", ["show", "transcript", "retry", "delete"])
def test_what_does_not_exist_is_not_found(user: Cli, verb: str) -> None:
    for job_id in (UNKNOWN_ID, "../livez"):
        assert user(verb, job_id).returncode == 3


def test_a_failed_transcription_is_explained_and_can_be_tried_again(user: Cli) -> None:
    failing = "https://sandbox.invalid/outcome=error:invalid_audio_file"
    done = user("submit", failing, "--wait")
    assert done.returncode == 1
    assert "invalid_audio_file" in done.stderr
    job_id = user.json("list", "--limit", "1", "--json")["transcriptions"][0]["id"]
    assert user("transcript", job_id).returncode == 1
    assert user.json("retry", job_id, "--json")["id"] == job_id


def test_waiting_longer_than_told_to_is_a_time_out(user: Cli) -> None:
    done = user("submit", "https://sandbox.invalid/stuck", "--wait", "--timeout", "0.5")
    assert done.returncode == 4
    assert "soniox-relay show" in done.stderr


def test_senseless_arguments_of_submit_are_usage_errors(user: Cli) -> None:
    assert user("submit", "no-such-file.wav").returncode == 2
    assert user("submit", str(recording_path()), "--metadata", "[1]").returncode == 2
    assert user("submit", str(recording_path()), "--format", "docx").returncode == 2


def test_lists_are_filtered_and_a_senseless_filter_is_a_usage_error(user: Cli) -> None:
    submitted = user("submit", "https://sandbox.invalid/a.wav", "--reference", "f-1", "--wait", "--json")
    wanted = json.loads(submitted.stdout)["id"]
    chosen = ("list", "--status", "completed", "--stage", "completed,failed", "--reference", "f-1")
    page = user.json(*chosen, "--created-after", "2020-01-01", "--order", "asc", "--json")
    assert [job["id"] for job in page["transcriptions"]] == [wanted]
    assert user.json(*chosen, "--created-before", "2020-01-01", "--json")["transcriptions"] == []
    for wrong in (["--status", "done"], ["--created-after", "yesterday"], ["--cursor", "nonsense"]):
        assert user("list", *wrong).returncode == 2


def test_a_missing_or_wrong_key_and_a_silent_relay_are_told_in_a_line_with_the_cure(
    installation: Installation, cli: Cli
) -> None:
    missing = cli("list")
    assert (missing.returncode, "RELAY_API_KEY" in missing.stderr) == (2, True)
    wrong = cli("list", "--key", "a-key-that-nobody-ever-made-0001", "--url", installation.relay.url)
    assert (wrong.returncode, "--key" in wrong.stderr) == (1, True)
    silent = cli("list", "--key", ADMIN_KEY, "--url", f"http://127.0.0.1:{free_port()}")
    assert (silent.returncode, "soniox-relay serve" in silent.stderr) == (1, True)
    for done in (missing, wrong, silent):
        assert len(done.stderr.splitlines()) <= 2
