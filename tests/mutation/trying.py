"""The tests of one module, run in a fork that knows the libraries already, but nothing of ours."""

import os
import sys

import pytest

LIBRARIES = [
    *("aiohttp", "alembic.command", "cryptography.fernet", "fastapi", "httpx_aiohttp", "hypothesis", "pytest"),
    *("pydantic_settings", "sqlalchemy.ext.asyncio", "sqlmodel", "standardwebhooks", "structlog", "uvicorn"),
]
QUIETLY = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def run(folder: str, tests: list[str]) -> None:
    """Ends the process: 0 when they pass."""
    os.chdir(folder)
    os.environ["GUARD_CORPUS"] = "6000"
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # those of the copy are wanted
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    raise SystemExit(pytest.main([*QUIETLY, "-k", "not postgres", *tests]))
