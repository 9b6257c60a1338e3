"""The command line: `main` puts the verbs together and turns errors into exit codes.

    running it        serve (serve, worker), setup (init, config, openapi), migrate, doctor, keys,
                      reconcile, purge
    talking to it     submit, jobs (list, show, transcript, retry, delete), endpoints, deliveries, events (tail,
                      listen), verify; all but the last through `client`
    trying it out     tryout (sandbox, demo, run), with the demo itself in `demo/`

A module of verbs imports nothing heavy at its top, so that `--help` stays quick; a verb loads what it needs.
"""
