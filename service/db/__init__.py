"""The database: reads and commits, both engines, notifications between processes, the schema."""
