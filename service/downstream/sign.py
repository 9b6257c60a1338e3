"""Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`. Pure."""

import base64
import hmac


def signed_headers(event_id: str, at_s: int, body: bytes, secrets: list[str]) -> dict[str, str]:
    """The three headers; one signature for each of `secrets` (`whsec_...`), so that a rotation has no gap."""
    signatures = " ".join(_signature(event_id, at_s, body, secret) for secret in secrets)
    return {"webhook-id": event_id, "webhook-timestamp": str(at_s), "webhook-signature": signatures}


def _signature(event_id: str, at_s: int, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
