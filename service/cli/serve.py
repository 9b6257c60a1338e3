"""The verbs that run the relay."""

import errno
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.problems import Problem

if TYPE_CHECKING:
    from service.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command("serve", rich_help_panel="Run it")(serve)
    app.command("worker", rich_help_panel="Run it")(worker)


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
    from service.cli.databases import set_up_if_new
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

    from service.cli.databases import set_up_if_new
    from service.server import run_worker

    settings = _settings({})
    set_up_if_new(settings)
    port = settings.relay_worker_port
    uvloop.run(run_worker(settings, None if port is None else listen(settings.host, port)))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. What connects before the application is ready waits in its queue."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            cure = "stop what runs there, or choose another with --port or PORT"
            raise Problem(f"port {port} on {host} is taken", cure) from None
        raise Problem(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def _settings(overrides: dict[str, Any]) -> "Settings":
    """The settings, with what the command line says instead; logs are configured from them."""
    from service.settings import load_settings
    from service.telemetry import configure_logs

    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    return settings.model_copy(update={name: value for name, value in overrides.items() if value is not None})
