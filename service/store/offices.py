"""Tasks that one process does for all."""

from sqlalchemy import or_
from sqlmodel import Session, select

from service.store.rows import upsert
from service.tables import Office, table_of

offices = table_of(Office)


def take(session: Session, name: str, holder: str, *, now_ms: int, until_ms: int) -> bool:
    """Take or renew an office; False while another holder's time lasts."""
    insertion = upsert(session, offices).values(name=name, holder=holder, until_ms=until_ms)
    free = or_(offices.c.holder == holder, offices.c.until_ms <= now_ms)
    values = {"holder": holder, "until_ms": until_ms}
    statement = insertion.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
    return session.exec(statement).rowcount == 1


def get(session: Session, name: str) -> Office | None:
    """Who holds it."""
    return session.exec(select(Office).where(offices.c.name == name)).one_or_none()
