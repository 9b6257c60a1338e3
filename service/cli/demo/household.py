"""Sandbox and relay in a folder of their own, with fresh secrets and nothing of the visitor's environment."""

import os
import random
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.cli.client import RelayClient, open_client
from service.cli.demo.child import Child
from service.crypto import new_api_key
from service.settings import Settings

HERE = "127.0.0.1"
FIRST_EPHEMERAL = 32_768  # Linux takes ports from here on for outgoing connections


@dataclass(frozen=True)
class Household:
    """Both servers, running, and a client of each."""

    relay: Child
    relay_url: str
    relay_key: str
    client: RelayClient
    sandbox: Child
    soniox: httpx.Client


@contextmanager
def open_household(
    relay_port: int, *, settings: Mapping[str, str] | None = None, pace: Mapping[str, str] | None = None
) -> Iterator[Household]:
    """Start both and end them with the block, however it ends.

    `settings` are further variables of the relay, `pace` further options of the sandbox.
    """
    soniox_key, relay_key, sandbox_port = secrets.token_urlsafe(32), new_api_key(), free_port()
    relay_url, soniox_url = f"http://{HERE}:{relay_port}", f"http://{HERE}:{sandbox_port}"
    options = {"--port": str(sandbox_port), "--api-key": soniox_key, **(pace or {})}
    variables = {
        "SONIOX_API_KEY": soniox_key,
        "SONIOX_API_BASE_URL": soniox_url,
        "SONIOX_API_WEBHOOK_SECRET": secrets.token_urlsafe(32),
        "RELAY_API_KEY": relay_key,
        "RELAY_ALLOWED_DESTINATIONS": HERE,
        "PORT": str(relay_port),
        **(settings or {}),
    }
    bare = _environment_without_settings()
    with tempfile.TemporaryDirectory(prefix="soniox-relay-") as name:
        arguments = ["sandbox", *(word for option in options.items() for word in option)]
        sandbox = Child("sandbox", arguments, Path(name), bare, f"{soniox_url}/_sandbox/state")
        relay = Child("relay", ["serve"], Path(name), bare | variables, f"{relay_url}/readyz")
        with (
            _running(sandbox, relay),
            open_client(relay_url, relay_key) as client,
            httpx.Client(base_url=soniox_url, trust_env=False) as soniox,
        ):
            yield Household(relay, relay_url, relay_key, client, sandbox, soniox)


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to no outgoing connection before we do."""
    while True:
        port = random.randrange(10_000, FIRST_EPHEMERAL)  # noqa: S311  # a guess, no secret
        with suppress(OSError):
            socket.create_server((HERE, port)).close()
            return port


@contextmanager
def _running(*children: Child) -> Iterator[None]:
    """SIGTERM ends us like Ctrl-C does, so that no child is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for child in children:
            child.start()
        for child in children:
            child.wait_until_ready()
        yield
    finally:
        for child in reversed(children):
            child.end()
        signal.signal(signal.SIGTERM, before)


def _environment_without_settings() -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper().removesuffix("_FILE") not in ours}
