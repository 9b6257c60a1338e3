"""The command line: `main` combines the commands and maps errors to exit codes.

    run it            serve (serve, worker, healthy), migrate (migrate, migrate-data), maintenance (purge,
                      reconcile)
    set it up         setup (init, config, openapi), doctor, keys
    talk to it        jobs (submit, list, show, transcript, retry, delete), endpoints, deliveries, events (tail,
                      listen), verify; all but `verify` use `client`
    try it out        tryout (demo, run, sandbox), with the demo in `demo/`

A module of commands imports nothing heavy at its top, so that `--help` stays fast. A command imports what it
needs.
"""
