"""What the visitor sees: a line for each step with its time, then the result and the checks."""

from rich.console import Console
from rich.text import Text

from service.cli.demo.receiver import Notification
from service.cli.output import results


class Screen:
    """Lines with times, counted from `begin`."""

    def __init__(self) -> None:
        self._console: Console = results()
        self._zero_s = 0.0
        self._last_s = 0.0

    def headline(self, text: str) -> None:
        """What is about to happen."""
        self._console.print(Text(f"\n{text}", style="bold"))

    def begin(self, at_s: float) -> None:
        """From now on times count."""
        self._zero_s = self._last_s = at_s

    def step(self, at_s: float, what: str, detail: str = "") -> None:
        """One thing that happened at the wall time `at_s`."""
        since_start, since_last = at_s - self._zero_s, at_s - self._last_s
        line = Text.assemble(
            (f"{since_start:8.3f} s ", "cyan"), (f"{since_last:+8.3f}  ", "dim"), f"{what:<34}", (detail, "dim")
        )
        self._last_s = at_s
        self._console.print(line, soft_wrap=True)

    def crash(self, what: str) -> None:
        """Trouble that we made ourselves."""
        self._console.print(Text(f"           SIGKILL  {what}", style="bold red"), soft_wrap=True)

    def transcript(self, text: str) -> None:
        """The recognised sentence."""
        self.headline("The transcript")
        self._console.print(Text(text), soft_wrap=True)

    def notification(self, came: Notification) -> None:
        """The headers that matter, and the body as it was signed."""
        self.headline("The notification, verified with the standardwebhooks library")
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            self._console.print(Text(f"{name}: {came.headers[name]}"), soft_wrap=True)
        self._console.print(Text(f"\n{came.body.decode()}\n"), soft_wrap=True)

    def check(self, passed: bool, what: str) -> None:
        """One thing that must be true."""
        self._console.print(
            Text(f"  {'ok    ' if passed else 'FAILED'}  {what}", "green" if passed else "bold red")
        )
