"""While the previous master secret is set, what it sealed is sealed anew with the current one.

Otherwise the end of a rotation, when the previous one is taken out of the settings, would make endpoint secrets
and callback headers unreadable. Runs again and again, since a process that is still to be restarted may seal with
the old one.
"""

from typing import Any

import structlog
from sqlalchemy import Table
from sqlmodel import Session

from service.relay import Relay
from service.store import keys
from service.vault import Vault

log = structlog.get_logger(__name__)

PAGE = 100  # rows of one write: opening them must not hold up the event loop


async def reseal(relay: Relay) -> int:
    """One pass over everything; how many rows were changed."""
    if len(relay.vault.masters) < 2:
        return 0
    changed = sum([await _pass(relay, table) for table in keys.ENCRYPTED])
    log.info("sealed_anew", rows=changed)
    return changed


async def _pass(relay: Relay, table: Table) -> int:
    last, changed = "", 0

    def turn(session: Session) -> tuple[str, int]:
        rows = keys.encrypted_page(session, table, last, PAGE)
        renewed = {row["id"]: values for row in rows if (values := _renewed(relay.vault, row))}
        for row_id, values in renewed.items():
            keys.update_encrypted(session, table, row_id, values)
        return (rows[-1]["id"] if rows else ""), len(renewed)

    while True:
        last, number = await relay.db.write(turn)
        changed += number
        if not last:
            return changed


def _renewed(vault: Vault, row: dict[str, Any]) -> dict[str, Any]:
    """The columns that have to change."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if name == "past_secrets":
            past = [{**one, "sealed": vault.reseal(one["sealed"]) or one["sealed"]} for one in value or ()]
            values |= {name: past} if past != (value or []) else {}
        elif name != "id" and value and (anew := vault.reseal(value)):
            values[name] = anew
    return values
