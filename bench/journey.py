"""How long one job takes when there is no other: `python -m bench.journey`.

From the webhook to the moment at which the receiver has accepted the notification, for an idle relay; and, beside
each other, waiting for a result at the relay and asking Soniox for it through its SDK as its documentation shows.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import uvloop
from soniox import SonioxClient
from typing_extensions import override

from bench.load import request
from bench.memory import running
from bench.neighbour import END_OF_HEAD, beside, content_length
from bench.pipeline import put_submitted
from bench.served import API_KEY, MASTER_SECRET, ready_databases, relay
from bench.sink import Sink
from bench.table import Row, show
from bench.vendor import Vendor
from service.cli.demo.servers import free_port
from service.crypto import SecretBox
from service.db.database import open_database
from service.db.notify import Notifier

TOLD = 40  # webhooks, one after the other
PAUSE_S = 0.15
POLLED = 3  # jobs
PROCESSING_MS = 1_500
FILE = "service/sandbox/speech/recording.wav"


class Noting(Sink):
    """Accepts, and says when."""

    def __init__(self, accepted: "asyncio.Queue[float]") -> None:
        super().__init__()
        self._accepted = accepted

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._waiting:
            self._accepted.put_nowait(time.perf_counter())


async def told_ms(database_url: str, soniox: str) -> float:
    """The median from sending a webhook to the accepted notification, with a pause between two."""
    async with open_database(database_url, Notifier()) as db:
        jobs = await put_submitted(db, TOLD)
    accepted: asyncio.Queue[float] = asyncio.Queue()
    receiver = await asyncio.get_running_loop().create_server(lambda: Noting(accepted), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}"
    secret_box, took_s = SecretBox([MASTER_SECRET.encode()]), []
    with relay(database_url, SONIOX_API_BASE_URL=soniox) as (port, _):
        key = {"Authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            (await client.post("/v1/endpoints", json={"url": address}, headers=key)).raise_for_status()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for job in jobs:
            header = {"X-Soniox-Webhook-Secret": secret_box.webhook_secret(job)}
            webhook = request(f"/webhooks/soniox?job={job}", header, '{"id":"{id}","status":"completed"}')
            began_s = time.perf_counter()
            writer.write(webhook.before + job.encode() + webhook.after)
            took_s.append(await asyncio.wait_for(accepted.get(), 30) - began_s)
            head = await reader.readuntil(END_OF_HEAD)
            assert b" 200 " in head, head
            await reader.readexactly(content_length(head))
            await asyncio.sleep(PAUSE_S)
        writer.close()
    receiver.close()
    return 1000 * statistics.median(took_s)


def beside_polling() -> list[Row]:
    """The double takes 1.5 s for a job; how soon its result is here, and how many calls Soniox saw."""
    with ExitStack() as stack:
        _, database_url = next(iter(stack.enter_context(ready_databases()).items()))
        port = free_port()
        options = ("--recognise", "script", "--processing-ms", str(PROCESSING_MS), "--port", str(port))
        stack.enter_context(running(".", "sandbox", *options))
        soniox = f"http://127.0.0.1:{port}"
        ours, _ = stack.enter_context(
            relay(database_url, SONIOX_API_BASE_URL=soniox, SONIOX_API_KEY="sandbox-key")
        )
        own = {"Authorization": f"Bearer {API_KEY}"}
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{ours}", headers=own, timeout=60))
        sdk = stack.enter_context(SonioxClient(api_key="sandbox-key", api_base_url=f"{soniox}/v1"))
        _until_up(soniox)
        waited, waited_calls = _each(soniox, lambda: _wait(client))
        polled, polled_calls = _each(soniox, lambda: _poll(sdk))
    return [
        Row("a job of 1.5 s at Soniox: result through the relay after", waited, "s"),
        Row("the same by polling Soniox through its SDK", polled, "s"),
        Row("calls that Soniox saw for a job, removal included: through the relay", waited_calls, "calls"),
        Row("the same by polling Soniox through its SDK", polled_calls, "calls"),
    ]


def _each(soniox: str, job: Callable[[], None]) -> tuple[float, float]:
    """Seconds and calls at Soniox for one job."""
    before, took_s = _calls(soniox), []
    for _ in range(POLLED):
        began_s = time.perf_counter()
        job()
        took_s.append(time.perf_counter() - began_s)
    time.sleep(1)  # the relay removes what is left at Soniox
    return statistics.median(took_s), (_calls(soniox) - before) / POLLED


def _wait(client: httpx.Client) -> None:
    with open(FILE, "rb") as file:
        parts: dict[str, Any] = {"file": file, "request": (None, '{"model":"stt-async-v5"}')}
        job = client.post("/v1/transcriptions", files=parts).raise_for_status().json()["id"]
    assert client.get(f"/v1/transcriptions/{job}", params={"wait": 30}).json()["status"] == "completed"
    client.get(f"/v1/transcriptions/{job}/transcript").raise_for_status()


def _poll(sdk: SonioxClient) -> None:
    job = sdk.stt.transcribe(model="stt-async-v5", file=FILE)
    sdk.stt.wait(job.id)
    sdk.stt.get_transcript(job.id)
    sdk.stt.destroy(job.id)


def _calls(soniox: str) -> float:
    return float(sum(httpx.get(f"{soniox}/_sandbox/state").json()["calls"].values()))


def _until_up(url: str) -> None:
    for _ in range(100):
        try:
            httpx.get(f"{url}/_sandbox/state")
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return


def rows() -> list[Row]:
    """On both databases; the comparison on SQLite."""
    found = []
    with beside(Vendor) as soniox, ready_databases() as urls:
        for database, url in urls.items():
            took_ms = uvloop.run(told_ms(url, soniox))
            name = f"{database}: webhook in to notification accepted, idle, p50"
            found.append(Row(name, took_ms, "ms", limit=25, at_least=False))
    return found + beside_polling()


if __name__ == "__main__":
    show(rows())
