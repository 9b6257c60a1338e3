"""The HTTP API: Soniox's own API and the relay's additions. Routes only translate; `services` has the rules."""
