"""Commands that need neither Soniox nor an API key: demo, run, sandbox."""

from typing import Annotated, Literal

import typer

from service.cli.console import CommandError

SANDBOX_PORT = 8901


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for verb in (demo, run, sandbox):
        app.command(verb.__name__, rich_help_panel="Try it out")(verb)


def demo(
    crash: Annotated[bool, typer.Option("--crash", help="Kill the relay twice on the way.")] = False,
) -> None:
    """Run the whole job for real, offline: sandbox, relay, receiver, a recording, a verified notification."""
    from service.cli.demo.scenario import run_demo

    run_demo(crash=crash)


def run(
    port: Annotated[
        int, typer.Option(envvar="PORT", min=0, max=65535, help="The relay's port; 0 takes a free one.")
    ] = 8000,
) -> None:
    """Run sandbox and relay together until Ctrl-C, on a database that is thrown away."""
    from service.cli.demo.servers import run_until_interrupted

    run_until_interrupted(port)


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = SANDBOX_PORT,
    recognise: Annotated[
        Literal["pocketsphinx", "script"], typer.Option(help="Hear for real (English), or make transcripts up.")
    ] = "pocketsphinx",
    api_key: Annotated[str, typer.Option(help="The key that it takes.")] = "sandbox-key",
    processing_ms: Annotated[int, typer.Option(min=0, help="How long a job takes at least.")] = 50,
    time_factor: Annotated[float, typer.Option(min=0, help="Stretches the waits between webhook tries.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the dice behind faults.")] = 0,
) -> None:
    """Run the Soniox double, to be used as SONIOX_API_BASE_URL."""
    import uvloop

    from service.cli.serve import listen
    from service.sandbox.app import create_sandbox
    from service.sandbox.state import SandboxConfig
    from service.server import serve_app
    from service.telemetry import configure_logs

    configure_logs("info", "console")
    config = SandboxConfig(
        recognise=recognise, api_key=api_key, processing_ms=processing_ms, time_factor=time_factor, seed=seed
    )
    try:
        app = create_sandbox(config)
    except RuntimeError as error:  # a package of the recogniser is missing
        raise CommandError(str(error)) from None
    listener = listen(host, port)
    print(f"Soniox sandbox: SONIOX_API_BASE_URL=http://{host}:{listener.getsockname()[1]}", flush=True)
    uvloop.run(serve_app(app, listener))
