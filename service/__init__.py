"""Soniox Relay: submits recordings to Soniox, receives its webhooks, stores transcripts, notifies subscribers.

The flow. Each step leaves a due row for the next one and never calls it:

  api.transcriptions -> pipeline.submit -> Soniox -> webhook -> pipeline.collect -> pipeline.deliver -> receivers
                                                        ^                    `---> pipeline.cleanup -> Soniox
                                           reconcile ---' what no webhook reported, through the same inbox

To get the idea, read `lifecycle` (stages and moves), `tables` (what is stored), `errors` (who has to act),
`db.database` (the only commit), `store.claims` (leases with a fence), `worker` and `queues` (who runs what),
`services.transcriptions`, `pipeline.submit`, `webhook`, `pipeline.collect`, `pipeline.results`,
`pipeline.deliver`, `pipeline.cleanup`, `reconcile`. After that, every other module can be read alone.

Imports point one way, from `__main__` down to `errors`; pyproject.toml has the order and a contract that checks
it. `docs/map.md` has a line on each module, `docs/decisions/` the reasons.
"""

__version__ = "0.1.0"
