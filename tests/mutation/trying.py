"""The tests of one module, run in a fork that knows the libraries already, but nothing of ours."""

import os
import sys

import pytest

LIBRARIES = [
    *("aiohttp", "alembic.command", "cryptography.fernet", "fastapi", "httpx_aiohttp", "hypothesis", "pytest"),
    *("pydantic_settings", "sqlalchemy.ext.asyncio", "sqlmodel", "standardwebhooks", "structlog", "uvicorn"),
]
QUIETLY = ["-x", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
NOT_NEEDED = ["cacheprovider", "schemathesis", "xdist", "xdist.looponfail"]  # plugins that take long to load
PURE = {"tests/test_vault.py", "tests/test_sign.py", "tests/test_delivery_patience.py", "tests/test_guard.py"}


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
    plugins = [option for name in NOT_NEEDED for option in ("-p", f"no:{name}")]
    alone = ["--noconftest"] if set(tests) <= PURE else []  # they need no database
    raise SystemExit(pytest.main([*QUIETLY, *plugins, *alone, "-k", "not postgres", *tests]))
