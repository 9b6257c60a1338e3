"""Transcripts as pure functions: Soniox's JSON in, packed chunks, summaries and subtitles out."""
