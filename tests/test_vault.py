"""Secrets: derived for each job, compared without telling, sealed for the database."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.crypto import KEY_PREFIX, SecretBox, hash_api_key, new_api_key, new_endpoint_secret

MASTER = b"a-master-secret-of-the-tests-01"
OLDER = b"the-one-that-was-there-before-02"
JOB = "84c32fc6-4fb5-4e7a-b656-b5ec70493753"
SEALED = (  # by MASTER
    "gAAAAABrAWHQ98nGo1tD3DN8C--GiwZdCAvBmkC6kncXX3x6bkcW5oOK80m5I38JrxY4Kb3kVKvMLK9eT4CRQgBzofUWxtpeJw=="
)
OTHER_JOB = "84c32fc6-4fb5-4e7a-b656-b5ec70493754"


def test_each_job_has_a_header_value_of_its_own() -> None:
    secret_box = SecretBox([MASTER])
    value = secret_box.webhook_secret(JOB)
    assert value == SecretBox([MASTER]).webhook_secret(JOB)  # any process derives the same
    assert len(base64.urlsafe_b64decode(value + "=")) == 32
    assert secret_box.knows_webhook_secret(value.encode(), JOB)
    assert not secret_box.knows_webhook_secret(value.encode(), OTHER_JOB)
    assert not secret_box.knows_webhook_secret(value.encode(), "")


def test_the_header_value_does_not_give_the_master_secret_away() -> None:
    assert MASTER.decode() not in SecretBox([MASTER]).webhook_secret(JOB)
    assert "master" not in repr(SecretBox([MASTER]))


def test_without_a_job_the_master_secret_itself_is_asked_for_and_with_one_it_is_refused() -> None:
    secret_box = SecretBox([MASTER])
    assert secret_box.knows_webhook_secret(MASTER, "")
    assert not secret_box.knows_webhook_secret(MASTER, JOB)


@pytest.mark.parametrize("job", [JOB, ""])
def test_the_previous_master_secret_is_still_accepted(job: str) -> None:
    old, new = SecretBox([OLDER]), SecretBox([MASTER, OLDER])
    given_by_old = old.webhook_secret(job).encode() if job else OLDER
    assert new.knows_webhook_secret(given_by_old, job)
    assert not SecretBox([MASTER]).knows_webhook_secret(given_by_old, job)
    assert new.webhook_secret(JOB) == SecretBox([MASTER]).webhook_secret(JOB)  # new jobs get the new one


@given(st.binary(max_size=80))
def test_nothing_else_is_accepted(guess: bytes) -> None:
    secret_box = SecretBox([MASTER, OLDER])
    assert secret_box.knows_webhook_secret(guess, JOB) is False
    assert secret_box.knows_webhook_secret(guess, "") is (guess in {MASTER, OLDER})


def test_a_sealed_secret_can_be_opened_with_the_master_secret_only() -> None:
    sealed = SecretBox([OLDER]).encrypt("whsec_abc")
    assert "abc" not in sealed
    assert SecretBox([MASTER, OLDER]).decrypt(sealed) == "whsec_abc"
    with pytest.raises(ValueError, match="no longer set") as refused:
        SecretBox([MASTER]).decrypt(sealed)
    assert sealed not in str(refused.value)


def test_what_an_older_master_secret_sealed_is_sealed_anew_once() -> None:
    both = SecretBox([MASTER, OLDER])
    renewed = both.reencrypt(SecretBox([OLDER]).encrypt("whsec_abc"))
    assert renewed
    assert SecretBox([MASTER]).decrypt(renewed) == "whsec_abc"
    assert both.reencrypt(renewed) is None
    assert both.reencrypt(SecretBox([b"a-secret-that-nobody-knows-any-more"]).encrypt("whsec_abc")) is None


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    secret_box = SecretBox([MASTER])
    assert secret_box.encrypt("same") != secret_box.encrypt("same")


def test_api_keys_are_long_random_and_known_by_their_prefix() -> None:
    keys = {new_api_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("srk_") and len(key) == 47 for key in keys)


def test_the_hash_of_an_api_key_is_stable_and_tells_nothing() -> None:
    key = new_api_key()
    assert hash_api_key(key) == hash_api_key(key)
    assert hash_api_key(key) != hash_api_key(key + "x")
    assert key.removeprefix(KEY_PREFIX) not in hash_api_key(key)


def test_endpoint_secrets_have_the_form_of_standard_webhooks() -> None:
    secret = new_endpoint_secret()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_a_signature_holds_for_its_purpose_and_text_and_outlives_a_rotation() -> None:
    signature = SecretBox([OLDER]).sign("session", "text")
    for secret_box in (SecretBox([OLDER]), SecretBox([MASTER, OLDER])):
        assert secret_box.knows_signature("session", "text", signature)
        assert not secret_box.knows_signature("form", "text", signature)
        assert not secret_box.knows_signature("session", "text2", signature)
        assert not secret_box.knows_signature("session", "text", signature + "x")
    assert not SecretBox([MASTER]).knows_signature("session", "text", signature)


def test_derived_values_stay_what_they_are_for_jobs_under_way_rely_on_them() -> None:
    assert SecretBox([MASTER]).webhook_secret(JOB) == "Asap1NeE19kk9LsckgDw6OvR16dWKaHPxoKhpEvMeNk"
    assert SecretBox([MASTER]).sign("session", "text") == "a5W4_V8vAYqfXjzTcoL3Uhlak_Bp8craowfpRiy6KZQ"
    assert SecretBox([MASTER]).decrypt(SEALED) == "whsec_abc"
    assert hash_api_key("srk_abc") == hashlib.sha256(b"srk_abc").hexdigest()
