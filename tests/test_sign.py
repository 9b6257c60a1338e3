"""Signatures: what another implementation of Standard Webhooks makes of them."""

import base64
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from service.crypto import new_endpoint_secret
from service.downstream.messages import signed_headers

NOW_S = 1_800_000_000


@given(st.binary(min_size=1, max_size=64), st.text(st.characters(codec="utf-8"), max_size=100))
def test_a_signature_is_the_one_that_the_reference_makes(key: bytes, body: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = signed_headers("evt_1", NOW_S, body.encode(), [secret])
    theirs = Webhook(secret).sign("evt_1", datetime.fromtimestamp(NOW_S, UTC), body)
    assert headers == {"webhook-id": "evt_1", "webhook-timestamp": str(NOW_S), "webhook-signature": theirs}


def test_every_valid_secret_signs_separated_by_a_space() -> None:
    secrets = [new_endpoint_secret() for _ in range(3)]
    each = [signed_headers("evt_1", NOW_S, b"{}", [secret])["webhook-signature"] for secret in secrets]
    assert signed_headers("evt_1", NOW_S, b"{}", secrets)["webhook-signature"] == " ".join(each)
