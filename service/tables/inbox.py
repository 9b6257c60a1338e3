"""What comes from Soniox and what must go there: the webhook inbox, and the removals."""

from typing import ClassVar

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from service.tables.base import Due, due


class Webhook(Due, table=True):
    """The inbox: what Soniox, or the reconciler in its place, told us. Due means: collect the result.

    `job` is the transcription named in the URL, empty for one that the relay did not create.
    """

    __tablename__: ClassVar[str] = "webhooks"
    __table_args__ = (
        Index("uq_webhooks_job", "job", "soniox_id", "status", unique=True),
        due("webhooks"),
    )
    id: str = Field(primary_key=True)
    job: str = ""
    soniox_id: str
    status: str
    source: str  # webhook, reconciler
    received_at_ms: int = Field(sa_type=BigInteger)
    last_seen_at_ms: int = Field(sa_type=BigInteger)
    seen: int = 1  # raised by every duplicate
    handled_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    outcome: str | None = None


class Removal(Due, table=True):
    """What must go at Soniox: a transcription, then its file. Deleted when both are gone."""

    __tablename__: ClassVar[str] = "removals"
    __table_args__ = (due("removals"),)
    id: str = Field(primary_key=True)
    transcription_id: str = Field(index=True)
    soniox_id: str | None = None
    soniox_file_id: str | None = None
    unsettled: bool = False  # a create or upload may have taken effect: list first
    created_at_ms: int = Field(sa_type=BigInteger)
