"""The four stages of the pipeline. Each is a step that processes one claimed row.

    submit   a waiting transcription         ──▶ it is created at Soniox
    collect  an inbox entry                  ──▶ transcript or error, event, deliveries and removal are stored
    notify   a delivery                      ──▶ the receiver has it, or its next try is due
    cleanup  a removal                       ──▶ transcription and file are deleted at Soniox

Steps do not call each other: each stores a due row for the next. A step reads, releases the database, calls
out, and writes once. Failures of Soniox or a receiver do not raise. An exception is a bug, and the worker
postpones the row.
"""
