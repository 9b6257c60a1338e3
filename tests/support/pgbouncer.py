"""A real PgBouncer in transaction mode, from Debian's package, in front of the tests' PostgreSQL."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.cli.demo.servers import free_port
from tests.support.postgres import NOBODY
from tests.support.waiting import until_now

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER_CONNECTIONS = 3  # fewer than the relay opens, so that its statements really change connections

CONFIGURATION = """
[databases]
* = host={host} port={server_port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pgbouncer(database_url: str) -> Iterator[str]:
    """The URL of the same database through the pooler."""
    assert PROGRAM, "apt-get install pgbouncer"
    given, port = urlsplit(database_url), free_port()
    text = CONFIGURATION.format(host=given.hostname, server_port=given.port, port=port, size=SERVER_CONNECTIONS)
    with tempfile.TemporaryDirectory(prefix="relay-pgbouncer-") as folder:
        path = Path(folder) / "pgbouncer.ini"
        path.write_text(text, "utf-8")
        Path(folder).chmod(0o755)
        is_root = os.geteuid() == 0
        user: dict[str, Any] = {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid} if is_root else {}
        process = subprocess.Popen([PROGRAM, "-q", str(path)], stderr=subprocess.DEVNULL, **user)  # noqa: S603  # our own program
        try:
            _until_listening(port)
            yield given._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        finally:
            process.terminate()
            process.wait(10)


def _until_listening(port: int) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until_now(listens, within_s=10)
