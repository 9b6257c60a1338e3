"""Soniox's own Node SDK against the relay: `node/drive.mjs` calls every async method and asserts."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.node import WITHOUT_NODE, installed_sdk
from tests.support.relay_app import ADMIN_KEY, AUDIO, RelayApp

pytestmark = pytest.mark.one_database  # an SDK meets HTTP alone

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def installed() -> Path:
    """The SDK; the script lies beside it to find it."""
    return installed_sdk()


@pytest.mark.skipif(WITHOUT_NODE, reason="node and npm are not installed: the Node SDK was not driven")
async def test_every_method_of_the_node_sdk_does_what_it_does_at_soniox(
    relay_app: RelayApp, installed: Path
) -> None:
    script = shutil.copy(HERE / "drive.mjs", installed / f"drive-{os.getpid()}.mjs")
    told = {
        "RELAY_URL": relay_app.server.url,
        "RELAY_KEY": ADMIN_KEY,
        "AUDIO_URL": AUDIO,
        "RECEIVER_URL": f"{relay_app.receiver_url}/node",
    }
    node = await asyncio.create_subprocess_exec(
        "node", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | told
    )
    out, errors = await asyncio.wait_for(node.communicate(), 60)
    os.unlink(script)
    assert node.returncode == 0, errors.decode()
    assert "stt.transcribe" in json.loads(out)
    await relay_app.until_received("/node")
    assert relay_app.receiver.at("/node")[0].headers["x-mine"] == "abc"
