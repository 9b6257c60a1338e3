"""The four stages of the work, each a step that takes one claimed row.

    submit   a transcription that waits      ──▶ Soniox has it
    collect  a row of the webhook inbox      ──▶ transcript, event, deliveries and removal are stored, or the error
    notify   a delivery                      ──▶ the receiver has it, or its next try is set
    cleanup  a removal                       ──▶ Soniox has neither transcription nor file any more

They never call one another: each leaves a due row for the next. A step reads, lets go of the database, calls
out, and writes once. Nothing here may raise for what the outside does; what is raised is a bug, and the worker
puts its row aside.
"""
