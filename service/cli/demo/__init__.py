"""The demo: real processes, a real recording, and a receiver that believes nothing it cannot verify.

`story` tells it to the `ending`, on a `stage`: the `household` of processes (each a `child`), the `receiver` of
the notification, and the `screen`. `playground` keeps the same household open for visitors.
"""
