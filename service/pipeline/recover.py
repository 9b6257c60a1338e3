"""Recover: make due again, batch by batch, what an endpoint did not take since a moment."""

from service.relay import Relay
from service.store import deliveries
from service.tables import Recovery

BATCH = 200
PAUSE_MS = 200  # between batches: 1,000 deliveries a second at most, which its rate and windows slow further


async def recover(relay: Relay, row: Recovery) -> None:
    """Run one claimed recovery through its next batch."""
    now_ms = relay.clock()
    await relay.db.write(
        lambda session: deliveries.run_recovery_batch(
            session, row, size=BATCH, now_ms=now_ms, again_ms=now_ms + PAUSE_MS
        ),
        wake=("notify",),
    )
