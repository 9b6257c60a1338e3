"""The Soniox double: an honest imitation of Soniox's async API, in memory, with quotas, webhooks and faults.

Start at `app`. A request passes `gate` (key, rate, network faults), reaches `files`, `transcriptions` or `usage`,
which ask `validate` and `quotas` and write to `memory`. `processing` takes jobs from there to their end with
`audio`, `recognise` (the process `listener`) and `tokens`; `webhooks` tells. `script` is how a client orders an
outcome, `faults` how an operator orders trouble, `control` the door to both. It imports nothing else of the relay:
a double must not share our misunderstandings.
"""

__all__ = ["SandboxConfig", "create_sandbox"]
