"""The demo: real processes, a real recording, and a receiver that verifies every signature.

`scenario` runs the demo and prints it, with the processes of `servers` and the `receiver` of the notification.
`servers` also runs the same processes until Ctrl-C, for the command `run`.
"""
