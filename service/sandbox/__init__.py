"""The sandbox: an in-memory imitation of Soniox's async API, with quotas, webhooks and faults.

Start at `app`, which also has the control API. A request passes `fault_middleware` (key, rate limit, network
faults) and reaches the routes in `files`, `transcriptions` or `usage`. These use `schemas` and `limits`, and
write to `state`. `processing` runs jobs with `tokens` and `recogniser` (child process: `recogniser_process`).
`webhooks` sends the webhooks. A client scripts an outcome through `tokens`; an operator sets `faults`. The
sandbox imports nothing else of the relay, so that both do not share the same misunderstandings.
"""

__all__ = ["SandboxConfig", "create_sandbox"]
