"""The snippets of docs/receiving.md do what they say: run as they stand there, on what the relay really sent."""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.crypto import new_endpoint_secret
from service.downstream.messages import signed_headers
from tests.support.relay_app import RelayApp

pytestmark = pytest.mark.one_database  # signatures

DOCUMENT = Path(__file__).parent.parent / "docs" / "receiving.md"
Verify = Callable[[str, dict[str, str], bytes], bool]


def snippet(language: str) -> str:
    """The only block of that language that defines `verify`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [
        block for block in blocks if re.search(r"^(def verify|function verify|verify\(\) )", block, re.MULTILINE)
    ]
    return str(found)


def _python(_folder: Path) -> Verify:
    names: dict[str, Verify] = {}
    exec(snippet("python"), names)  # noqa: S102  # running it is the test
    return names["verify"]


def _node(folder: Path) -> Verify:
    run = 'const [s, h, b] = JSON.parse(require("fs").readFileSync(0));'
    script = folder / "verify.js"
    script.write_text(f'{snippet("js")}\n{run}\nprocess.exit(verify(s, h, Buffer.from(b, "base64")) ? 0 : 1);\n')

    def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
        given = json.dumps([secret, headers, base64.b64encode(body).decode()])
        return _ends_well(["node", str(script)], given)

    return verify


def _bash(folder: Path) -> Verify:
    script = folder / "verify.sh"
    script.write_text(f'{snippet("bash")}\nverify "$@"\n')

    def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
        (folder / "body").write_bytes(body)
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        values = [headers.get(name, "") for name in names]
        return _ends_well(["bash", str(script), secret, *values, str(folder / "body")], "")

    return verify


def _ends_well(command: list[str], given: str) -> bool:
    done = subprocess.run(command, input=given.encode(), capture_output=True, check=False)  # noqa: S603
    assert done.returncode in {0, 1}, done.stderr
    assert done.stderr == b""
    return done.returncode == 0


SNIPPETS = {"python": _python, "node": _node, "bash": _bash}


@pytest.fixture(params=list(SNIPPETS))
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Verify:
    if request.param != "python" and not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return SNIPPETS[request.param](tmp_path)


def test_a_snippet_accepts_what_is_signed_and_nothing_else(verify: Verify) -> None:
    secret, other, body = new_endpoint_secret(), new_endpoint_secret(), b'{"type":"ping", "x":"\xc3\xa9"}\n'
    now_s = int(time.time())
    good = signed_headers("evt_1", now_s, body, [secret])
    rotating = signed_headers("evt_1", now_s, body, [other, secret])
    assert verify(secret, good, body)
    assert verify(secret, rotating, body)
    assert verify(other, rotating, body)
    assert not verify(other, good, body)
    assert not verify(secret, good, body + b" ")
    assert not verify(secret, {**good, "webhook-id": "evt_2"}, body)
    assert not verify(secret, {**good, "webhook-timestamp": str(now_s - 1)}, body)
    for moment_s in (now_s - 400, now_s + 400):
        assert not verify(secret, signed_headers("evt_1", moment_s, body, [secret]), body)
    for signature in ("", "v1,", "garbage", "v1,aa,bb", "v1,é", good["webhook-signature"][3:], "* *"):
        assert not verify(secret, {**good, "webhook-signature": signature}, body), signature
    for timestamp in ("", "now", "-1", "9" * 40, "0x10"):
        assert not verify(secret, {**good, "webhook-timestamp": timestamp}, body), timestamp
    assert not verify(secret, {}, body)


async def test_the_snippets_accept_what_the_relay_sent(relay_app: RelayApp, tmp_path: Path) -> None:
    endpoint = await relay_app.add_endpoint(include="transcript")
    await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events")
    request = relay_app.receiver.at("/events")[0]
    for name, make in SNIPPETS.items():
        if name == "python" or shutil.which(name):
            assert make(tmp_path)(endpoint["secret"], request.headers, request.body), name
