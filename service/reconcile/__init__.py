"""The reconciler: finds what no webhook reported, and writes it to the same inbox.

It never fetches a transcript and never finishes a transcription: the collect stage does, on the same path as for a
webhook. `sweep` asks Soniox about silent transcriptions, `leaks` finds what nobody needs, `scheduler` says when.
"""
