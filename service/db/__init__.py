"""The database: the only commit, both engines, wake-ups between processes, the schema."""
