"""Soniox Relay: brings recordings to Soniox, takes its webhooks in, keeps the transcripts, tells who subscribed.

The flow, each step leaving a due row for the next and calling none of them:

  api.intake ─▶ accept ─▶ pipeline.submit ─▶ Soniox ─▶ webhook ─▶ pipeline.collect ─▶ pipeline.notify ─▶ receivers
                                                          ▲                     └───▶ pipeline.cleanup ─▶ Soniox
                                                 reconcile┘ what no webhook told, through the same inbox

Reading order for the idea: `lifecycle` (stages and moves), `tables` (what is kept), `errors` (who has to act),
`db` (the only commit), `store.claims` (leases with a fence), `worker` and `lanes` (who runs what),
`accept`, `pipeline.submit`, `webhook`, `pipeline.collect`, `pipeline.finish`, `pipeline.notify`,
`pipeline.cleanup`, `reconcile`. After that every other module can be read alone.

Imports point one way, from `__main__` down to `errors`; pyproject.toml has the order and a contract that holds it.
`docs/map.md` has a line on each module, `docs/decisions/` the reasons.
"""

__version__ = "0.1.0"
