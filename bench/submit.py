"""How quickly a submission is accepted, on disk, beside the handlers one would write: `python -m bench.submit`."""

from contextlib import ExitStack

from bench.load import SLOW, Template, generator, rates, request, typical
from bench.neighbour import beside
from bench.rate import ratio
from bench.served import API_KEY, naive, ready_databases, relay
from bench.table import Row, show
from bench.vendor import Vendor

BODY = '{"model":"stt-async-v5","audio_url":"https://example.com/audio.mp3","client_reference_id":"{id}"}'


def submission() -> Template:
    """A job by URL; the others do not look at the key."""
    return request("/v1/transcriptions", {"Authorization": f"Bearer {API_KEY}"}, BODY)


def rows() -> list[Row]:
    """On both databases, 32 at once."""
    found = []
    with generator() as sender, beside(Vendor) as soniox, ready_databases() as urls:
        for database, url in urls.items():
            with ExitStack() as stack:
                ports = {
                    "relay": stack.enter_context(relay(url, "--no-worker"))[0],
                    "submitting": stack.enter_context(naive("submitting", url, soniox)),
                    "noting": stack.enter_context(naive("noting", url)),
                }
                targets = {name: (port, submission()) for name, port in ports.items()}
                loads = sender.in_turn(targets, 32, SLOW)
            print(f"{database}: {typical(loads)}")
            ours, submitting, noting = (rates(loads[name]) for name in ports)
            name = f"{database}: submissions accepted against a handler that stores a row and calls Soniox"
            found.append(Row(name, ratio(ours, submitting), limit=5))
            name = f"{database}: the same against one that only stores a row"
            found.append(Row(name, ratio(ours, noting)))
    return found


if __name__ == "__main__":
    show(rows())
