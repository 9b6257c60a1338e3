"""Builds the Dockerfile with buildah, which needs no engine, on a stand-in for the base image.

The stand-in is a Debian of the same release with its own Python, made by debootstrap: the steps run as written,
only what `python:...-slim` contains may differ.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / ".run" / "images"
PROGRAMS = ("buildah", "debootstrap")
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
OF_THIS_MACHINE = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")  # how it reaches its package registries
TAG = "soniox-relay-check"


def run(*command: object, **options: Any) -> str:
    """Run a program to its end and give back what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, **options)  # noqa: S603  # fixed programs
    return str(done.stdout).strip()


def buildah(*arguments: object, **options: Any) -> str:
    """buildah with a store of its own."""
    return run(
        "buildah",
        "--storage-driver",
        _driver(),
        "--root",
        STORE,
        "--runroot",
        STORE / "run",
        *arguments,
        **options,
    )


def build() -> str:
    """Build the image; gives back its name."""
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)[-1]
    if f"docker.io/library/{base}" not in buildah("images", "--format", "{{.Name}}:{{.Tag}}"):
        _make_stand_in(base)
    buildah("bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "-q", "-t", TAG, ROOT)
    return TAG


def _make_stand_in(base: str) -> None:
    release = base.rpartition("-")[2]
    folder = STORE.parent / "stand-in"
    shutil.rmtree(folder, ignore_errors=True)
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, folder, *_mirror())
    (folder / "usr/bin/python").symlink_to("python3")
    for file in OF_THIS_MACHINE:
        if Path(file).exists():
            shutil.copy(file, folder / file[1:])
    container = buildah("from", "scratch")
    buildah("add", "-q", container, folder, "/")
    buildah("commit", "-q", "--rm", container, f"docker.io/library/{base}")
    shutil.rmtree(folder)


def _mirror() -> list[str]:
    """Where this machine gets Debian packages from; debootstrap's default where that is not told."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    found = re.search(r"^URIs: (\S+)", sources.read_text("utf-8"), re.MULTILINE) if sources.exists() else None
    return [found[1]] if found else []


def _driver() -> str:
    return os.environ.get("STORAGE_DRIVER", "overlay")
