"""Every SQL statement of the relay, by what it is about. Functions take a connection first and never commit.

Reading order: rows, claims, transcriptions, webhooks, transcripts, events, deliveries, removals, files, then
the small ones. None of them decides anything: the guard of a move (which stage, whose fence) is all they know.
"""
