"""The verb for container health checks: does the process beside it do its work?"""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.problems import Problem

if TYPE_CHECKING:
    from service.settings import Settings

ANSWER_WITHIN_S = 5


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("healthy", rich_help_panel="Run it")(healthy)


def healthy(
    worker: Annotated[
        bool, typer.Option("--worker", help="Of the `worker` on this host, not of `serve`.")
    ] = False,
) -> None:
    """Exit 0 when the process on this host does its work; for HEALTHCHECK and liveness probes.

    A database that does not answer is no reason to restart a worker, and so none to call it ill.
    """
    from service.settings import load_settings

    settings = load_settings()
    trouble = _of_worker(settings) if worker else _of_server(settings)
    if trouble:
        raise Problem(trouble)
    print("ok")


def _of_server(settings: "Settings") -> str | None:
    import http.client

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # not bound here
    connection = http.client.HTTPConnection(host, settings.port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {settings.port} ({type(error).__name__})"
    finally:
        connection.close()
    return None if status == 200 else f"/livez answers {status}"


def _of_worker(settings: "Settings") -> str | None:
    import asyncio

    from service.errors import DatabaseDown
    from service.store.system import WORKER_SILENT_MS

    try:
        silent_ms = asyncio.run(_silence_ms(settings.direct_url))
    except DatabaseDown:
        return None
    if silent_ms is None:
        return "no worker has started on this host"
    return None if silent_ms <= WORKER_SILENT_MS else f"the worker has been silent for {silent_ms // 1000} s"


async def _silence_ms(database_url: str) -> int | None:
    """Since when no worker of this host has given a sign of life; None when none ever did."""
    import socket

    from service.db.database import open_database
    from service.db.notify import Notifier
    from service.store import system

    mark = f"worker:{socket.gethostname()}:"
    async with open_database(database_url, Notifier()) as db:
        beats = await db.read(system.heartbeats_of)
        newest = max((beat.at_ms for name, beat in beats.items() if name.startswith(mark)), default=None)
        return None if newest is None else await db.now_ms() - newest
