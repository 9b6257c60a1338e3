"""Secrets: generation, derivation, comparison, hashing, encryption and signatures. No I/O.

Each job's webhook has its own header value, derived from the master secret and the job's id, so a leaked header
can forge webhooks of one job only. Endpoint secrets and callback headers are encrypted with a second derived
key, and the dashboard's session is signed with a third. API keys are only hashed.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

DERIVATION = b"soniox-relay/webhook/v1:"
SEALING = b"soniox-relay/seal/v1"
SIGNING = b"soniox-relay/sign/v1"
KEY_PREFIX = "srk_"
ENDPOINT_SECRET_PREFIX = "whsec_"  # noqa: S105  # the public prefix of Standard Webhooks, not a secret


@dataclass(frozen=True)
class SecretBox:
    """Encrypts, signs and derives with the master secrets: the current one first, then those still accepted."""

    master_secrets: Sequence[bytes] = field(repr=False)

    def webhook_secret(self, transcription_id: str) -> str:
        """Return the header value that Soniox sends with one job's webhook."""
        return _derive(self.master_secrets[0], transcription_id).decode()

    def knows_webhook_secret(self, given: bytes, transcription_id: str) -> bool:
        """Return whether `given` is valid for the job, or is a master secret if `transcription_id` is empty.

        The comparison takes constant time. It also hides the length of a master secret; the length of a derived
        value is public.
        """
        if transcription_id:
            derived = [_derive(master, transcription_id) for master in self.master_secrets]
            matches = [hmac.compare_digest(given, value) for value in derived]  # no early exit
        else:
            matches = [_same(given, master) for master in self.master_secrets]
        return any(matches)

    def encrypt(self, secret: str) -> str:
        """Encrypt a secret for the database."""
        return self._fernets().encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        """Decrypt a stored secret. Raises ValueError if its master secret is no longer set."""
        try:
            return self._fernets().decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise ValueError("sealed with a master secret that is no longer set") from None

    def reencrypt(self, sealed: str) -> str | None:
        """Re-encrypt with the current master secret. None if it is current already or cannot be decrypted."""
        try:
            SecretBox(self.master_secrets[:1]).decrypt(sealed)
        except ValueError:
            with suppress(ValueError):
                return self.encrypt(self.decrypt(sealed))
        return None

    def sign(self, purpose: str, text: str) -> str:
        """Sign a text that a browser stores. The signature is valid for this purpose only."""
        return _sign(self.master_secrets[0], purpose, text)

    def knows_signature(self, purpose: str, text: str, given: str) -> bool:
        """Return whether any master secret made the signature `given`."""
        matches = [_same(given.encode(), _sign(master, purpose, text).encode()) for master in self.master_secrets]
        return any(matches)

    def _fernets(self) -> MultiFernet:
        return MultiFernet([_fernet(master) for master in self.master_secrets])


def new_api_key() -> str:
    """Generate an API key: 256 random bits after a prefix that secret scanners can find."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_api_key(key: str) -> str:
    """Hash an API key with SHA-256, which is enough for a random key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_endpoint_secret() -> str:
    """Generate a secret of 32 bytes in the format of Standard Webhooks."""
    return ENDPOINT_SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _derive(master: bytes, transcription_id: str) -> bytes:
    mac = _started_hmac(master).copy()
    mac.update(transcription_id.encode())
    return _as_text(mac.digest())


@cache  # starting an HMAC takes longer than updating and finishing a copy
def _started_hmac(master: bytes) -> hmac.HMAC:
    return hmac.new(master, DERIVATION, "sha256")


def _sign(master: bytes, purpose: str, text: str) -> str:
    key = hmac.digest(master, SIGNING, "sha256")
    return _as_text(hmac.digest(key, f"{purpose}\0{text}".encode(), "sha256")).decode()


def _as_text(digest: bytes) -> bytes:
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


@cache
def _fernet(master: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.digest(master, SEALING, "sha256")))


def _same(given: bytes, valid: bytes) -> bool:
    """Compare in constant time. Both sides are hashed first, so the time does not reveal the length either."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(valid).digest())
