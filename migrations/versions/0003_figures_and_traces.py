"""Indexes for the figures behind the dashboard, and the trace that a transcription belongs to.

Revision ID: 0003
Revises: 0002

It only adds: what ran before it goes on running beside it. On PostgreSQL the indexes are made within the
migration's transaction; writes to a large table wait for some seconds meanwhile.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
phase = "pre-deploy"

FINISHED = ("stage", "learned_from", "finished_at_ms", "owner", "created_at_ms")
SETTLED = ("status", "created_at_ms", "owner", "delivered_at_ms")


def upgrade() -> None:
    op.add_column("transcriptions", sa.Column("traceparent", sa.String(), nullable=True))
    op.add_column("events", sa.Column("traceparent", sa.String(), nullable=True))
    partial("ix_transcriptions_finished", "transcriptions", FINISHED, "finished_at_ms IS NOT NULL")
    partial("ix_deliveries_settled", "deliveries", SETTLED, "status <> 'pending'")


def partial(name: str, table: str, columns: tuple[str, ...], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, list(columns), sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index("ix_deliveries_settled", table_name="deliveries")
    op.drop_index("ix_transcriptions_finished", table_name="transcriptions")
    op.drop_column("events", "traceparent")
    op.drop_column("transcriptions", "traceparent")
