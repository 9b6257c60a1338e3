"""Secrets: made, derived, compared, hashed and sealed. Pure but for the randomness of new ones.

Each job's webhook carries its own header value, derived from the master secret and the job's id, so that a
leaked header forges one job at most. What must be read again (endpoint secrets, a caller's callback header) is
sealed with a key derived from the same master secret; what need not be (API keys) is hashed. What a browser keeps
for us (the dashboard's session) is signed with a third key derived from it.
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
    """The master secrets, current one first; the others are still accepted."""

    master_secrets: Sequence[bytes] = field(repr=False)

    def webhook_secret(self, transcription_id: str) -> str:
        """The header value Soniox is given for one job."""
        return _derive(self.master_secrets[0], transcription_id).decode()

    def knows_webhook_secret(self, given: bytes, transcription_id: str) -> bool:
        """Compare with every valid value in constant time; without a job, with the master secrets themselves.

        How long a derived value is, everybody may know; how long a master secret is, nobody.
        """
        if transcription_id:
            derived = [_derive(master, transcription_id) for master in self.master_secrets]
            matches = [hmac.compare_digest(given, value) for value in derived]  # all of them: no early exit
        else:
            matches = [_same(given, master) for master in self.master_secrets]
        return any(matches)

    def encrypt(self, secret: str) -> str:
        """Encrypt for the database."""
        return self._fernets().encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        """Decrypt. Raises ValueError when the master secret that sealed it is gone."""
        try:
            return self._fernets().decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise ValueError("sealed with a master secret that is no longer set") from None

    def reencrypt(self, sealed: str) -> str | None:
        """The same sealed with the current master secret; None when it is already, or when nobody can open it."""
        try:
            SecretBox(self.master_secrets[:1]).decrypt(sealed)
        except ValueError:
            with suppress(ValueError):
                return self.encrypt(self.decrypt(sealed))
        return None

    def sign(self, purpose: str, text: str) -> str:
        """A signature that holds for this purpose only: for what browsers bring back to us."""
        return _sign(self.master_secrets[0], purpose, text)

    def knows_signature(self, purpose: str, text: str, given: str) -> bool:
        """Compare with the signature of every master secret."""
        matches = [_same(given.encode(), _sign(master, purpose, text).encode()) for master in self.master_secrets]
        return any(matches)

    def _fernets(self) -> MultiFernet:
        return MultiFernet([_fernet(master) for master in self.master_secrets])


def new_api_key() -> str:
    """A key for a caller: 256 bits of chance behind a prefix that secret scanners can find."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_api_key(key: str) -> str:
    """SHA-256 is enough: the key is chance, not a password."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_endpoint_secret() -> str:
    """A secret of 32 bytes in the form Standard Webhooks gives them."""
    return ENDPOINT_SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _derive(master: bytes, transcription_id: str) -> bytes:
    mac = _started_hmac(master).copy()
    mac.update(transcription_id.encode())
    return _as_text(mac.digest())


@cache  # beginning anew takes longer than all that follows
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
    """Hash both sides first, so that not even the length shows in the time taken."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(valid).digest())
