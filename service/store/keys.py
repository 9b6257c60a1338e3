"""API keys, stored as hashes, and the columns encrypted with a master secret."""

from typing import Any

from sqlalchemy import Table, update
from sqlmodel import Session, select

from service.store.statements import insert_all
from service.tables import ApiKey, Endpoint, Transcription, table_of

keys = table_of(ApiKey)


def add(session: Session, key: ApiKey) -> None:
    """Insert a key."""
    insert_all(session, [key])


def find(session: Session, digest: str) -> ApiKey | None:
    """Return the valid key with the hash `digest`."""
    query = select(ApiKey).where(keys.c.hash == digest, keys.c.revoked_at_ms.is_(None))
    return session.exec(query).one_or_none()


def get_valid(session: Session, key_id: str) -> ApiKey | None:
    """Return the key with this id unless it was revoked."""
    query = select(ApiKey).where(keys.c.id == key_id, keys.c.revoked_at_ms.is_(None))
    return session.exec(query).one_or_none()


def list_valid(session: Session) -> list[ApiKey]:
    """Return all keys that are not revoked, oldest first."""
    query = select(ApiKey).where(keys.c.revoked_at_ms.is_(None)).order_by(keys.c.created_at_ms, keys.c.id)
    return list(session.exec(query))


def mark_used(session: Session, key_id: str, now_ms: int) -> None:
    """Record the time of the last use."""
    session.exec(update(keys).where(keys.c.id == key_id).values(last_used_at_ms=now_ms))


def revoke(session: Session, key_id: str, now_ms: int) -> bool:
    """Revoke a key. Return False when there is no valid key with this id."""
    valid = (keys.c.id == key_id) & keys.c.revoked_at_ms.is_(None)
    return session.exec(update(keys).where(valid).values(revoked_at_ms=now_ms)).rowcount == 1


endpoints = table_of(Endpoint)
jobs = table_of(Transcription)

ENCRYPTED: dict[Table, tuple[str, ...]] = {
    endpoints: ("secret_encrypted", "headers_encrypted", "previous_secrets"),
    jobs: ("callback_secret_encrypted",),
}


def encrypted_page(session: Session, table: Table, after: str, limit: int) -> list[dict[str, Any]]:
    """Return id and encrypted columns of up to `limit` rows after the id `after`, locked until the commit."""
    columns = [table.c[name] for name in ENCRYPTED[table]]
    query = select(table.c.id, *columns).where(table.c.id > after, columns[0].is_not(None))
    found = session.exec(query.order_by(table.c.id).limit(limit).with_for_update())
    return [dict(row) for row in found.mappings()]


def update_encrypted(session: Session, table: Table, row_id: str, values: dict[str, Any]) -> None:
    """Set the encrypted columns of a row."""
    session.exec(update(table).where(table.c.id == row_id).values(**values))
