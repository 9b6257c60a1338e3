"""Query plans: what is claimed, swept and listed is read off an index, however much is finished."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlmodel import Session

from bench.filling import fill
from service.db.database import Database, open_database
from service.db.engines import open_engine
from service.db.notify import Notifier
from service.lifecycle import Stage
from service.store import (
    claims,
    deliveries,
    delivery_queue,
    endpoints,
    events,
    inbox,
    quotas,
    reconciler,
    statistics,
    transcription_queries,
    transcriptions,
)
from service.store.claims import Claimant
from service.store.statements import insert_all, is_sqlite
from service.store.transcription_queries import Page
from service.tables import Delivery, Transcription, Webhook
from tests.support.sessions import run_in_session

NOW_MS = 2_000_000_000_000
PLANNED_ANEW = 5  # PostgreSQL first looks at that many plans for the very values
OPEN = 30  # due rows of each kind, beside those that are finished
JOBS, DELIVERIES = 10_000, 30_000
WHO = Claimant("w", NOW_MS, 20_000)
PAGE = Page(100)
LATER = Page(100, (NOW_MS - 10**9, "x"))
LARGE = ("transcriptions", "webhooks", "events", "deliveries", "attempts", "timeline")

DUE = {"ix_deliveries_due", "ix_deliveries_turn"}

Query = Callable[[Session], object]


def jobs_where(page: Page = PAGE, owner: str | None = None, **wanted: Any) -> Query:
    return lambda connection: transcription_queries.page(
        connection, transcription_queries.TranscriptionFilter(owner, **wanted), page
    )


def deliveries_where(owner: str | None = None, **wanted: Any) -> Query:
    return lambda connection: deliveries.page(connection, deliveries.DeliveryFilter(owner, **wanted), PAGE)


def choose(session: Session) -> None:
    """Whose turn it is, and with which deliveries."""
    delivery_queue.choose(session, delivery_queue.ready_receivers(session, NOW_MS), NOW_MS, 10)


# What is asked, and the indexes of which one at least must lead it; primary keys may serve anything.
QUERIES: dict[str, tuple[Query, set[str]]] = {
    "claim the inbox": (lambda c: inbox.claim(c, WHO, 10), {"ix_webhooks_due"}),
    "claim submissions": (
        lambda c: quotas.claim_submissions(c, quotas.Quotas(100, 100, 100), WHO, 10),
        {"ix_transcriptions_due", "ix_transcriptions_unfinished"},
    ),
    "claim deliveries": (
        lambda c: delivery_queue.claim(c, WHO, 10),
        {"ix_deliveries_turn", "ix_deliveries_due", "uq_events_id"},
    ),
    "renew leases": (lambda c: claims.renew(c, Webhook, [("w1", 0), ("w2", 0)], NOW_MS), set()),
    "choose deliveries": (choose, {"ix_deliveries_turn"}),
    "give leases back": (lambda c: claims.release(c, Delivery, "w", NOW_MS), {"ix_deliveries_due"}),
    "is anything due": (lambda c: claims.is_any_due(c, Delivery, NOW_MS), {"ix_deliveries_due"}),
    "when is the next due": (lambda c: claims.next_due_ms(c, Delivery, NOW_MS), {"ix_deliveries_due"}),
    "find silent jobs": (
        lambda c: transcriptions.silent(c, NOW_MS, 1000),
        {"ix_transcriptions_check", "ix_transcriptions_unfinished"},
    ),
    "find stalled rows": (
        lambda c: reconciler.stalled(c, NOW_MS, NOW_MS),
        {"ix_transcriptions_due", "ix_webhooks_due", "ix_deliveries_due", "ix_removals_due"},
    ),
    "count what Soniox holds": (quotas.usage, {"ix_transcriptions_unfinished"}),
    "files in use": (lambda c: reconciler.files_in_use(c, ["f"]), {"ix_transcriptions_unfinished"}),
    "figures": (
        statistics.open_work,
        {"ix_transcriptions_due", "ix_transcriptions_check", "ix_transcriptions_unfinished"}
        | {"ix_webhooks_due", "ix_removals_due", *DUE},
    ),
    "list all": (jobs_where(), {"ix_transcriptions_created"}),
    "list the next page": (jobs_where(LATER), {"ix_transcriptions_created"}),
    "list one caller's": (
        jobs_where(owner="other"),
        {"ix_transcriptions_owner_created"},
    ),
    "list failed ones": (jobs_where(statuses=("error",)), {"ix_transcriptions_unfinished"}),
    "list a stage": (jobs_where(stages=(Stage.ACCEPTED,)), {"ix_transcriptions_unfinished"}),
    "list by reference": (jobs_where(client_reference_id="r1"), {"ix_transcriptions_reference"}),
    "list deliveries": (deliveries_where(), {"ix_deliveries_created"}),
    "list an endpoint's": (
        deliveries_where(endpoint_id="endpoint-1"),
        {"ix_deliveries_endpoint", "ix_deliveries_created"},
    ),
    "list pending ones": (deliveries_where(status="pending"), {"ix_deliveries_undelivered"}),
    "list one caller's deliveries": (deliveries_where(owner="other"), {"ix_deliveries_owner"}),
    "list an event's": (deliveries_where(event_id="e1"), {"ix_deliveries_event_id"}),
    "read the feed": (
        lambda c: events.after(c, (0, JOBS - 10), events.EventFilter(owner=None), 100),
        {"ix_events_order"},
    ),
    "hold what is due": (
        lambda c: endpoints.hold_deliveries(c, "endpoint-1", NOW_MS),
        {"ix_deliveries_turn", "ix_deliveries_due"},
    ),
    "give back what was held": (
        lambda c: endpoints.release_deliveries(c, "endpoint-1"),
        {"ix_deliveries_undelivered"},
    ),
    "count what to recover": (
        lambda c: deliveries.count_undelivered(c, "endpoint-1", 0, NOW_MS),
        {"ix_deliveries_undelivered"},
    ),
    "find what is past its retention": (
        lambda c: transcription_queries.expired(c, NOW_MS - 360 * 86_400_000, 100),
        {"ix_transcriptions_created", "ix_deliveries_transcription_id", "ix_deliveries_due"},
    ),
    "page of the inbox": (lambda c: inbox.page(c, None, 10), set()),  # by the primary key
    "next page of the inbox": (lambda c: inbox.page(c, "x", 10), set()),
}
SORTED = {"list an event's"}  # few rows by nature: sorting them costs nothing


@pytest.fixture
async def used(database_url: str) -> AsyncIterator[Database]:
    """A database with a history, and a little work in each queue."""
    await fill(database_url, JOBS, DELIVERIES, NOW_MS)
    async with open_database(database_url, Notifier()) as database:
        await database.write(_add_work)
        yield database


def _add_work(session: Session) -> None:
    job: dict[str, Any] = {"owner": "o", "filename": "f", "model": "m", "created_at_ms": NOW_MS}
    submitted: dict[str, Any] = {"stage": Stage.SUBMITTED, "check_at_ms": NOW_MS - 1}
    hint: dict[str, Any] = {
        "status": "completed",
        "source": "webhook",
        "received_at_ms": NOW_MS,
        "last_seen_at_ms": NOW_MS,
    }
    due: dict[str, Any] = {"due_at_ms": NOW_MS - 1}
    for number in range(OPEN):
        to = f"endpoint-{number % 3}"
        of: dict[str, Any] = {"event_id": f"e{number + 1:036d}", "endpoint_id": to, "receiver": to}
        insert_all(session, [Transcription(id=f"t{number}", **job, **due)])
        insert_all(session, [Transcription(id=f"u{number}", soniox_id=f"x{number}", **job, **submitted)])
        insert_all(
            session,
            [Webhook(id=f"w{number}", transcription_id=f"u{number}", soniox_id=f"x{number}", **hint, **due)],
        )
        insert_all(session, [Delivery(id=f"d{number}", owner="o", created_at_ms=NOW_MS, **of, **due)])
    if not is_sqlite(session):
        session.execute(text("ANALYZE"))


@pytest.mark.usefixtures("used")
async def test_no_query_of_the_daily_work_reads_what_is_finished(database_url: str) -> None:
    wrong = {}
    plans = await plans_of(database_url, {name: query for name, (query, _) in QUERIES.items()})
    for name, (_, indexes) in QUERIES.items():
        plan = plans[name]
        found = set(re.findall(r"\b(?:ix|uq)_\w+", plan))
        complaints = scans_in(plan)
        if name not in SORTED and "USE TEMP B-TREE FOR ORDER BY" in plan and "SCAN waiting" not in plan:
            complaints.append("sorts")
        if found - indexes or (indexes and not found):
            complaints.append(f"uses {found}, not {indexes}")
        if complaints:
            wrong[name] = (complaints, plan)
    assert not wrong, "\n\n".join(f"{name}: {complaints}\n{plan}" for name, (complaints, plan) in wrong.items())


async def test_whose_turn_it_is_is_not_planned_anew_at_each_claim(used: Database) -> None:
    if used.is_sqlite:
        pytest.skip("SQLite's driver keeps the plans of its statements")

    def plans(session: Session) -> Sequence[Any]:
        for _ in range(PLANNED_ANEW + 3):
            assert len(delivery_queue.claim(session, WHO, 1)) == 1
        query = (
            "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE '%AS ' || 'w0%'"
        )
        return session.execute(text(query)).all()

    assert await used.write(plans) == [(PLANNED_ANEW, 3)]


def scans_in(plan: str) -> list[str]:
    """Tables of which every row is read."""
    whole = [f"Seq Scan on {table}" for table in LARGE] + [f"SCAN {table}" for table in LARGE]
    return [words for words in whole if re.search(rf"{words}(?! USING)\b", plan)]


async def plans_of(database_url: str, queries: dict[str, Query]) -> dict[str, str]:
    """The plans of all statements of each query, on connections as the relay has them."""
    engine = open_engine(database_url, 2, pooled=False)
    try:
        return {name: await engine.write(partial(explain, query=query)) for name, query in queries.items()}
    finally:
        await engine.close()


def explain(connection: Connection, query: Query) -> str:
    """Run a query, have its statements explained, and undo it."""
    with statements_of(connection) as statements:
        run_in_session(connection, query)
    word = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    lines: list[str] = []
    for statement, parameters in statements:
        if re.match(r"\s*(SELECT|WITH|UPDATE)", statement):
            plan = connection.exec_driver_sql(f"{word} {statement}", parameters)
            lines += [str(row[-1]) for row in plan.all()]
    connection.rollback()
    return "\n".join(lines)


@contextmanager
def statements_of(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    """What is sent meanwhile, each with its parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(connection, "before_cursor_execute", note)
