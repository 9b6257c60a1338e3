"""Sandbox and relay for visitors, until Ctrl-C."""

import shutil
import sys
import time
from pathlib import Path

from service.cli.demo.household import HERE, Household, open_household
from service.cli.output import results
from service.cli.problems import Problem
from service.cli.serve import listen
from service.sandbox.speech import recording_path

GREETING = """
[bold]Soniox Relay[/bold] with the Soniox sandbox behind it. Ctrl-C ends both; nothing is kept.

  dashboard  {url}/ui
  API        {url}/v1, to read and try at {url}/docs
  API key    {key}

In another terminal:

  export RELAY_URL={url} RELAY_API_KEY={key} SANDBOX={sandbox}
  {program} submit {recording} --wait
  curl -H "Authorization: Bearer $RELAY_API_KEY" \\
       -F 'request={{"model":"stt-async-v5"}}' -F file=@{recording} $RELAY_URL/v1/transcriptions
"""


def stay_open(port: int) -> None:
    """Start both and stay until interrupted. Raises Problem when one of them ends by itself."""
    with listen(HERE, port) as free:
        port = free.getsockname()[1]
    results().print("Starting the Soniox sandbox and the relay")
    with open_household(port) as house:
        results().print(_greeting(house), soft_wrap=True)
        try:
            _stay(house)
        except KeyboardInterrupt:
            results().print("ending both")


def _greeting(house: Household) -> str:
    return GREETING.format(
        url=house.relay_url,
        key=house.relay_key,
        sandbox=str(house.soniox.base_url).rstrip("/"),
        program=_program(),
        recording=_from_here(recording_path()),
    )


def _program() -> str:
    """How the visitor calls the command line: it is seldom on the path in a fresh clone."""
    return "soniox-relay" if shutil.which("soniox-relay") else str(_from_here(Path(sys.argv[0])))


def _from_here(path: Path) -> Path:
    """As short as it can be typed."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _stay(house: Household) -> None:
    while True:
        for child in (house.relay, house.sandbox):
            if not child.is_running():
                raise Problem(f"the {child.name} ended by itself", child.last_words())
        time.sleep(0.5)
