"""Hours that are over are counted once; a trigger forgets the count of an hour in which something changes.

Revision ID: 0005
Revises: 0004

The triggers are the database's, so that a release which runs beside this one, and does not know of counts, still
cannot make one wrong. They only delete from the new table. docs/decisions/counted-hours.md has the reasons.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
phase = "pre-deploy"
branch_labels = None
depends_on = None

SETTLED = "OLD.status <> 'pending'"
JOB_CHANGES = "AFTER UPDATE OF stage, learned_from, finished_at_ms ON transcriptions"
DELIVERY_CHANGES = "AFTER UPDATE OF status ON deliveries"


def forget(about: str, row: str, moment: str) -> str:
    """SQLite's part of a trigger; without a moment it finds nothing."""
    hour = f"{row}.{moment} - {row}.{moment} % 3600000"
    return (
        f"DELETE FROM hourly_rollup WHERE about = '{about}' AND owner IN ('', {row}.owner) AND hour_ms = {hour};"  # noqa: S608  # our own words
    )


JOB_BEFORE = forget("transcriptions", "OLD", "finished_at_ms")
JOB_AFTER = forget("transcriptions", "NEW", "finished_at_ms")
DELIVERY = forget("deliveries", "OLD", "created_at_ms")

SQLITE = (
    f"CREATE TRIGGER tr_transcriptions_changed {JOB_CHANGES} BEGIN {JOB_BEFORE} {JOB_AFTER} END",
    f"CREATE TRIGGER tr_transcriptions_gone AFTER DELETE ON transcriptions BEGIN {JOB_BEFORE} END",
    f"CREATE TRIGGER tr_deliveries_changed {DELIVERY_CHANGES} WHEN OLD.status <> NEW.status BEGIN {DELIVERY} END",
    f"CREATE TRIGGER tr_deliveries_gone AFTER DELETE ON deliveries WHEN {SETTLED} BEGIN {DELIVERY} END",
)

# The lock is the one that whoever counts this hour holds until its count is committed: a change waits for that,
# and then sees the count that it must delete. Changes do not wait for one another.
POSTGRESQL = (
    """
CREATE FUNCTION delete_hourly_rollup(what text, whose text, at_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7203003, CAST(at_ms / 3600000 AS integer));
    DELETE FROM hourly_rollup
     WHERE about = what AND owner IN ('', whose) AND hour_ms = at_ms - at_ms % 3600000;
END $$
""",
    """
CREATE FUNCTION transcription_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM delete_hourly_rollup('transcriptions', OLD.owner, OLD.finished_at_ms);
    IF TG_OP = 'UPDATE' THEN
        PERFORM delete_hourly_rollup('transcriptions', NEW.owner, NEW.finished_at_ms);
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE FUNCTION delivery_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM delete_hourly_rollup('deliveries', OLD.owner, OLD.created_at_ms);
    RETURN NULL;
END $$
""",
    f"CREATE TRIGGER tr_transcriptions_changed {JOB_CHANGES} FOR EACH ROW"
    " WHEN (OLD.finished_at_ms IS NOT NULL OR NEW.finished_at_ms IS NOT NULL)"
    " EXECUTE FUNCTION transcription_changed()",
    "CREATE TRIGGER tr_transcriptions_gone AFTER DELETE ON transcriptions FOR EACH ROW"
    " WHEN (OLD.finished_at_ms IS NOT NULL) EXECUTE FUNCTION transcription_changed()",
    f"CREATE TRIGGER tr_deliveries_changed {DELIVERY_CHANGES} FOR EACH ROW"
    " WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION delivery_changed()",
    f"CREATE TRIGGER tr_deliveries_gone AFTER DELETE ON deliveries FOR EACH ROW WHEN ({SETTLED})"
    " EXECUTE FUNCTION delivery_changed()",
)
TRIGGERS = {
    "tr_transcriptions_changed": "transcriptions",
    "tr_transcriptions_gone": "transcriptions",
    "tr_deliveries_changed": "deliveries",
    "tr_deliveries_gone": "deliveries",
}
FUNCTIONS = ("delivery_changed()", "transcription_changed()", "delete_hourly_rollup(text, text, bigint)")


def upgrade() -> None:
    op.create_table(
        "hourly_rollup",
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("about", "owner", "hour_ms"),
    )
    op.create_index("ix_hourly_rollup_hour", "hourly_rollup", ["hour_ms"])
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger, table in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {trigger}" + ("" if is_sqlite else f" ON {table}"))
    for function in () if is_sqlite else FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("hourly_rollup")
