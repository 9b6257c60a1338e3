"""The HTTP API: Soniox's own, kept, and what the relay adds. Routes translate; the decisions are elsewhere."""
