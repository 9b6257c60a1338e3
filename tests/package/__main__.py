"""Build the wheel, install it into fresh environments with nothing for development, and run it elsewhere."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
SETTINGS = {
    "SONIOX_API_KEY": "soniox-key-of-the-package-check",
    "SONIOX_API_WEBHOOK_SECRET": "webhook-secret-of-the-package-check",
}


def run(folder: Path, *command: object, **variables: str) -> str:
    """Run in `folder` with these variables alone; gives back what it printed, or ends with it."""
    done = subprocess.run(  # noqa: S603  # our own programs
        [str(word) for word in command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"FAILED  {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout.strip()


def say(what: str) -> None:
    """One line for each thing that was seen."""
    print(f"ok      {what}", flush=True)


def build(folder: Path) -> Path:
    """The wheel, made by the backend of this environment."""
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], check=True)  # noqa: S603
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(folder: Path, what: str) -> Path:
    """A fresh environment with this, in the versions that were tested; gives back where its programs are."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "-c", CONSTRAINTS, what], check=True)  # noqa: S603
    subprocess.run([*pip, "check"], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return folder / "bin"


def main() -> None:
    """All of it, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="relay-package-") as name:
        folder = Path(name)
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        wheel = build(folder)
        say(f"built {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB")
        alone = install(folder / "alone", str(wheel))
        say(run(elsewhere, alone / "soniox-relay", "--version"))
        say(run(elsewhere, alone / "soniox-relay", "migrate", **SETTINGS))
        shutil.rmtree(folder / "alone")
        sandbox = install(folder / "sandbox", f"{wheel}[sandbox]")
        told = run(elsewhere, sandbox / "soniox-relay", "demo")
        say(f"demo, with [sandbox] and nothing for development: {told.splitlines()[-1].strip()}")


main()
