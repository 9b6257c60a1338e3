"""Pure functions that turn Soniox's JSON into packed chunks, passages, summaries and export formats."""
