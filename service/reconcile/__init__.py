"""The reconciler: finds results that no webhook reported, and writes them to the inbox.

It never fetches a transcript or finishes a transcription: the collect stage does, as for a webhook. `sweep`
asks about silent transcriptions, `leaks` finds objects that no job needs, `scheduler` decides when to run.
"""
