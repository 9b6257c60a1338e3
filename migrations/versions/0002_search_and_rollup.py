"""What the models cannot say: full text search, the storage of queues, triggers of the hourly rollup.

Words are folded and separated before they come here (service/transcripts/search_terms.py), so that both databases
index the same ones: FTS5's `ascii` tokenizer keeps every other character, and a tsvector is written word by word.

The pages of queues keep room for updates in place: docs/decisions/queues-and-autovacuum.md has the measurements.

A trigger deletes the rollup of an hour in which something changes. The triggers are the database's, so that
another release beside this one cannot make a count wrong. docs/decisions/counted-hours.md has the reasons.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
phase = "pre-deploy"

STORAGE = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
FILLFACTOR = {"transcriptions": 70, "deliveries": 70, "recoveries": 70, "webhooks": 50, "removals": 50}

SETTLED = "OLD.status <> 'pending'"
TRANSCRIPTION_CHANGES = "AFTER UPDATE OF stage, learned_from, finished_at_ms ON transcriptions"
DELIVERY_CHANGES = "AFTER UPDATE OF status ON deliveries"


def delete_rollup(subject: str, row: str, moment: str) -> str:
    """SQLite's part of a trigger; without a moment it finds nothing."""
    hour = f"{row}.{moment} - {row}.{moment} % 3600000"
    mine = f"subject = '{subject}' AND owner IN ('', {row}.owner)"
    return f"DELETE FROM hourly_rollup WHERE {mine} AND hour_ms = {hour};"  # noqa: S608  # our own words


TRANSCRIPTION_BEFORE = delete_rollup("transcriptions", "OLD", "finished_at_ms")
TRANSCRIPTION_AFTER = delete_rollup("transcriptions", "NEW", "finished_at_ms")
DELIVERY = delete_rollup("deliveries", "OLD", "created_at_ms")

SQLITE = (
    f"CREATE TRIGGER tr_transcriptions_changed {TRANSCRIPTION_CHANGES}"
    f" BEGIN {TRANSCRIPTION_BEFORE} {TRANSCRIPTION_AFTER} END",
    f"CREATE TRIGGER tr_transcriptions_gone AFTER DELETE ON transcriptions BEGIN {TRANSCRIPTION_BEFORE} END",
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
     WHERE subject = what AND owner IN ('', whose) AND hour_ms = at_ms - at_ms % 3600000;
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
    f"CREATE TRIGGER tr_transcriptions_changed {TRANSCRIPTION_CHANGES} FOR EACH ROW"
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
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE search_words USING fts5(words, tokenize = 'ascii', columnsize = 0)")
        for statement in SQLITE:
            op.execute(statement)
        return
    op.execute("CREATE TABLE search_words (id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
    # Every search reads the list of pending words from end to end: a short one keeps searches quick.
    op.execute(
        "CREATE INDEX ix_search_words_words ON search_words USING gin (words) WITH (gin_pending_list_limit = 512)"
    )
    for table, percent in FILLFACTOR.items():
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent}, {STORAGE})")
    for statement in POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger, table in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {trigger}" + ("" if is_sqlite else f" ON {table}"))
    for function in () if is_sqlite else FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TABLE search_words")
