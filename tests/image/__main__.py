"""Build the image and run every role of it: not as root, on a read-only root file system, with no environment but
the image's own and the settings. Needs root and Debian's buildah and debootstrap.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.cli.demo.servers import free_port
from tests.image.building import PROGRAMS, ROOT, build, buildah

# Inside a mount namespace of its own: the image read-only, as `docker run --read-only --tmpfs /tmp` has it.
ENTER = """
mount --bind "$ROOT" "$ROOT"
mount --bind "$DATA" "$ROOT/data"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mount -o remount,bind,ro "$ROOT"
exec chroot --userspec="$WHO" "$ROOT" /usr/bin/env -i --chdir=/data "$@"
"""
SETTINGS = {
    "SONIOX_API_KEY": "soniox-key-of-the-image-check",
    "SONIOX_API_WEBHOOK_SECRET": "webhook-secret-of-the-image-check",
    "SONIOX_API_BASE_URL": "http://127.0.0.1:9",
    "RELAY_API_KEY": "relay-key-of-the-image-check-01",
}


class Image:
    """The built image, mounted."""

    def __init__(self, root: Path, data: Path, config: dict[str, Any]) -> None:
        self.root, self.data, self.config = root, data, config
        self.port = str(free_port())
        os.chown(data, *(int(part) for part in config["User"].split(":")))

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """One container with this command."""
        values = [*self.config["Env"], *(f"{name}={value}" for name, value in SETTINGS.items())]
        return subprocess.Popen(  # noqa: S603  # fixed programs
            ["unshare", "--mount", "sh", "-ec", ENTER, "sh", *values, f"PORT={self.port}", *command],  # noqa: S607
            env={**os.environ, "ROOT": str(self.root), "DATA": str(self.data), "WHO": self.config["User"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str) -> tuple[int, str]:
        """One container to its end: exit code and output."""
        process = self.start(*command)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.strip()

    def relay(self, *arguments: str) -> tuple[int, str]:
        """The image's entry point."""
        return self.run(*self.config["Entrypoint"], *arguments)

    @contextmanager
    def running(self, *arguments: str, healthy: list[str]) -> Iterator[None]:
        """A container that goes on: it becomes healthy, and SIGTERM ends it in order."""
        process = self.start(*self.config["Entrypoint"], *arguments)
        try:
            until = time.monotonic() + 60
            while (last := self.run(*healthy))[0] != 0:
                require(process.poll() is None and time.monotonic() < until, f"{arguments}: {last[1]}")
            yield
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=30)
        require(process.returncode == 0, f"{arguments} ended with {process.returncode}: {output}")


def require(condition: bool, failure: str) -> None:
    """End with what went wrong."""
    if not condition:
        sys.exit(f"FAILED  {failure}")


def say(what: str) -> None:
    """One line for each thing that was seen."""
    print(f"ok      {what}", flush=True)


@contextmanager
def mounted(name: str) -> Iterator[Image]:
    """The image's root, writable by us alone, and an empty volume."""
    container = buildah("from", "--pull-never", name)
    data = ROOT / ".run" / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    try:
        root = Path(buildah("mount", container))
        yield Image(root, data, json.loads(buildah("inspect", container))["Docker"]["config"])
    finally:
        buildah("rm", container)
        shutil.rmtree(data)


def check(image: Image) -> None:
    """Everything that is promised of the image."""
    asking = image.config["Healthcheck"]["Test"][1:]
    code, version = image.relay("--version")
    require(code == 0, version)
    say(f"--version: {version}, as user {image.config['User']}")
    code, told = image.run("sh", "-c", "touch /opt/relay/x /x")
    require(code != 0 and told.count("Read-only file system") == 2, f"the code can be written: {told}")
    say("the root file system is read-only")
    code, told = image.relay("migrate")
    require(code == 0, told)
    say(f"migrate: {told}")
    with image.running("worker", healthy=[*asking, "--worker"]):
        say("worker: healthy, and ends on SIGTERM with 0")
    with image.running(*image.config["Cmd"], healthy=asking):
        say("serve: healthy, and ends on SIGTERM with 0")
    code, told = image.run(*asking)
    require(code == 1, f"nothing serves, and the health check says {told}")
    say("the health check fails when nothing serves")
    left = [path.name for path in image.root.glob("**/.env")] + [path.name for path in image.root.glob("src")]
    require(left == [], f"left in the image: {left}")
    say("no sources and no .env in it")


def main() -> None:
    """Build and check."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    require(not missing and os.geteuid() == 0, f"needs root and {', '.join(PROGRAMS)} (missing: {missing})")
    name = build()
    say("buildah built it")
    with mounted(name) as image:
        check(image)


main()
