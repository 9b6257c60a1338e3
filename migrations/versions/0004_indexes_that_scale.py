"""Indexes for a large history: claims and lists read what they need, however much is finished.

Revision ID: 0004
Revises: 0003

What ran before goes on running beside it, with indexes in place of the ones that are replaced. On PostgreSQL
writes to a large table wait while its indexes are built.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
phase = "pre-deploy"
branch_labels = None
depends_on = None

QUEUES = ("transcriptions", "webhooks", "deliveries", "removals", "recoveries")
PAGE = ("created_at_ms", "id")
OPEN = "stage IN ('accepted', 'submitting', 'submitted')"


# docs/decisions/queues-and-autovacuum.md says what was measured
STORAGE = {
    "fillfactor": "70",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_analyze_scale_factor": "0.02",
}


def upgrade() -> None:
    for table in QUEUES:
        _replace(f"ix_{table}_due", table, ("due_at_ms", "id"), "due_at_ms IS NOT NULL")
    _replace(
        "ix_transcriptions_reference",
        "transcriptions",
        ("client_reference_id", *PAGE),
        "client_reference_id IS NOT NULL",
    )
    op.drop_index("ix_transcriptions_open", table_name="transcriptions")
    _partial("ix_transcriptions_unfinished", "transcriptions", ("stage", *PAGE), "stage <> 'completed'")
    op.create_index("ix_deliveries_owner", "deliveries", ["owner", *PAGE])
    _partial("ix_deliveries_undelivered", "deliveries", ("status", *PAGE), "status <> 'delivered'")
    if op.get_bind().dialect.name == "postgresql":
        chosen = ", ".join(f"{name} = {value}" for name, value in STORAGE.items())
        for table in QUEUES:
            op.execute(f"ALTER TABLE {table} SET ({chosen})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in QUEUES:
            op.execute(f"ALTER TABLE {table} RESET ({', '.join(STORAGE)})")
    op.drop_index("ix_deliveries_undelivered", table_name="deliveries")
    op.drop_index("ix_deliveries_owner", table_name="deliveries")
    op.drop_index("ix_transcriptions_unfinished", table_name="transcriptions")
    _partial("ix_transcriptions_open", "transcriptions", ("stage", "soniox_status"), OPEN)
    op.drop_index("ix_transcriptions_reference", table_name="transcriptions")
    op.create_index("ix_transcriptions_reference", "transcriptions", ["client_reference_id"])
    for table in QUEUES:
        _replace(f"ix_{table}_due", table, ("due_at_ms",), "due_at_ms IS NOT NULL")


def _replace(name: str, table: str, columns: tuple[str, ...], condition: str) -> None:
    op.drop_index(name, table_name=table)
    _partial(name, table, columns, condition)


def _partial(name: str, table: str, columns: tuple[str, ...], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, list(columns), sqlite_where=where, postgresql_where=where)
