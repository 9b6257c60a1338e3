"""The way out: one guarded, signed POST to a receiver, and what its answer means."""
