"""Every SQL statement of the relay, by subject. Functions take a session first and never commit.

Reading order: statements, claims, transcriptions, inbox, transcripts, events, deliveries, reconciler, files,
then the small modules. None of them makes decisions: they only guard each move by its stage and fence.
"""
