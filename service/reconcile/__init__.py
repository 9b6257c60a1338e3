"""The reconciler: finds what no webhook told, and feeds it into the same inbox.

It never fetches a transcript and never finishes a job: the collect stage does, on the same path as for a
webhook. Reading order: finds (what may be found, pure), sweep (silent jobs), leaks (what is ours at Soniox and
needed by nobody), clock (when, and which process).
"""

from service.reconcile.clock import run_when_due
from service.reconcile.finds import Find
from service.reconcile.sweep import ask_one, record, sweep

__all__ = ["Find", "ask_one", "record", "run_when_due", "sweep"]
