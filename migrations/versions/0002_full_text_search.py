"""Full text search over passages: FTS5 on SQLite, a tsvector with a GIN index on PostgreSQL.

Revision ID: 0002
Revises: 0001

The words are folded and separated before they come here (service/transcripts/folding.py), so that both databases
index the same ones: FTS5's `ascii` tokenizer keeps every other character as it is, and a tsvector is written out
word by word, which no dictionary touches.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
phase = "pre-deploy"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE search_words USING fts5(words, tokenize = 'ascii', columnsize = 0)")
        return
    op.execute("CREATE TABLE search_words (id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
    # The list of pending words is read from end to end by every search: a short one keeps searches quick.
    op.execute(
        "CREATE INDEX ix_search_words_words ON search_words USING gin (words) WITH (gin_pending_list_limit = 512)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE search_words")
