"""Commands that run the relay: serve, worker, healthy."""

import errno
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import CommandError

if TYPE_CHECKING:
    from service.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("serve", rich_help_panel="Run it")(serve)
    app.command("worker", rich_help_panel="Run it")(worker)
    app.command("healthy", rich_help_panel="Run it")(healthcheck)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: HOST]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. [default: PORT]")
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Routes only; run `worker` elsewhere.")] = False,
) -> None:
    """Run the relay until SIGTERM. A new SQLite database is set up; an old schema is refused."""
    import uvloop

    from service.app import create_app
    from service.cli.database import set_up_if_new
    from service.server import serve_app

    settings = _settings({"host": host, "port": port})
    set_up_if_new(settings)
    listener = listen(settings.host, settings.port)
    settings = settings.model_copy(update={"port": listener.getsockname()[1]})
    uvloop.run(serve_app(create_app(settings, with_worker=not no_worker), listener))


def worker() -> None:
    """Run only the background work, beside `serve --no-worker` processes on one PostgreSQL.

    With RELAY_WORKER_PORT it answers /livez, /readyz and /metrics there.
    """
    import uvloop

    from service.cli.database import set_up_if_new
    from service.server import run_worker

    settings = _settings({})
    set_up_if_new(settings)
    port = settings.relay_worker_port
    uvloop.run(run_worker(settings, None if port is None else listen(settings.host, port)))


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Early connections wait in its backlog. Raises CommandError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            cure = "stop what runs there, or choose another with --port or PORT"
            raise CommandError(f"port {port} on {host} is taken", cure) from None
        raise CommandError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def _settings(overrides: dict[str, Any]) -> "Settings":
    """Load the settings, configure logs from them and apply the options of the command line."""
    from service.settings import load_settings
    from service.telemetry import configure_logs

    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    return settings.model_copy(update={name: value for name, value in overrides.items() if value is not None})


if TYPE_CHECKING:
    from service.settings import Settings

HEALTH_TIMEOUT_S = 5


def healthcheck(
    worker: Annotated[
        bool, typer.Option("--worker", help="Of the `worker` on this host, not of `serve`.")
    ] = False,
) -> None:
    """Exit 0 when the process on this host does its work; for HEALTHCHECK and liveness probes.

    A database that does not answer is no reason to restart a worker, and so none to call it ill.
    """
    from service.settings import load_settings

    settings = load_settings()
    trouble = _check_worker(settings) if worker else _check_server(settings)
    if trouble:
        raise CommandError(trouble)
    print("ok")


def _check_server(settings: "Settings") -> str | None:
    import http.client

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # not bound here
    connection = http.client.HTTPConnection(host, settings.port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {settings.port} ({type(error).__name__})"
    finally:
        connection.close()
    return None if status == 200 else f"/livez answers {status}"


def _check_worker(settings: "Settings") -> str | None:
    import asyncio

    from service.errors import DatabaseDownError
    from service.store.system import WORKER_SILENT_MS

    try:
        silent_ms = asyncio.run(_silence_ms(settings.direct_url))
    except DatabaseDownError:
        return None
    if silent_ms is None:
        return "no worker has started on this host"
    return None if silent_ms <= WORKER_SILENT_MS else f"the worker has been silent for {silent_ms // 1000} s"


async def _silence_ms(database_url: str) -> int | None:
    """Return the time since the last heartbeat of a worker on this host, or None without a heartbeat."""
    import socket

    from service.db.database import open_database
    from service.db.notify import Notifier
    from service.store import system

    mark = f"worker:{socket.gethostname()}:"
    async with open_database(database_url, Notifier()) as db:
        beats = await db.read(system.heartbeats_of)
        newest = max((beat.at_ms for name, beat in beats.items() if name.startswith(mark)), default=None)
        return None if newest is None else await db.now_ms() - newest
