"""Soniox's Node SDK from npm, in a folder that outlives the test run."""

import fcntl
import shutil
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sdk" / "node" / "package.json"
CACHE = Path(__file__).parents[2] / ".run" / "node-sdk"
WITHOUT_NODE = shutil.which("node") is None or shutil.which("npm") is None


def installed_sdk() -> Path:
    """The folder with `node_modules`; of several test processes one installs and the others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp = CACHE / "installed.json"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != PACKAGE.read_text():
            shutil.copy(PACKAGE, CACHE)
            command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=CACHE, check=True, timeout=100)  # noqa: S603  # our own words
            shutil.copy(PACKAGE, stamp)
    return CACHE
