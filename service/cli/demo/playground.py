"""Sandbox and relay for visitors, until Ctrl-C."""

import time

from service.cli.demo.household import HERE, Household, open_household
from service.cli.output import results
from service.cli.problems import Problem
from service.cli.serving import listen
from service.sandbox.speech import recording_path

GREETING = """
[bold]Soniox Relay[/bold] with the Soniox sandbox behind it. Ctrl-C ends both; nothing is kept.

  dashboard  {url}/ui
  API        {url}/v1
  API key    {key}

  curl -H "Authorization: Bearer {key}" \\
       -F 'request={{"model":"stt-async-v5"}}' -F file=@{recording} {url}/v1/transcriptions
"""


def stay_open(port: int) -> None:
    """Start both and stay until interrupted. Raises Problem when one of them ends by itself."""
    with listen(HERE, port) as free:
        port = free.getsockname()[1]
    with open_household(port) as house:
        greeting = GREETING.format(url=house.relay_url, key=house.relay_key, recording=recording_path())
        results().print(greeting, soft_wrap=True)
        try:
            _stay(house)
        except KeyboardInterrupt:
            results().print("ending both")


def _stay(house: Household) -> None:
    while True:
        for child in (house.relay, house.sandbox):
            if not child.is_running():
                raise Problem(f"the {child.name} ended by itself", child.last_words())
        time.sleep(0.5)
