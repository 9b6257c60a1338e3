"""Pages of the inbox and of removals keep room for one claim of each of their rows.

Revision ID: 0006
Revises: 0005

A claim that finds no room in its page costs an entry in every index, and under a reader nothing is cleaned up that
could make room. docs/decisions/queues-and-autovacuum.md says what was measured.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
phase = "pre-deploy"
branch_labels = None
depends_on = None

TABLES = ("webhooks", "removals")


def upgrade() -> None:
    _fill(50)


def downgrade() -> None:
    _fill(70)


def _fill(percent: int) -> None:
    """Of pages that are written from now on."""
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")
