"""The documents' fenced blocks: found, and run as a reader would, from the top of a page to its end.

A block's language says what becomes of it: `sh`, `bash`, `python` and `js` are run, `json` and `yaml` are parsed;
`text` is a picture or what something printed. All blocks of a page share one shell and one folder, so that a
later one uses what an earlier one has set. A mark may stand on the line above a fence:

    <!-- not run: REASON -->   what cannot be run here
    <!-- fails -->             what ends with an error, and has to
    <!-- prints -->            what the block before it prints; ids and times may differ, `...` skips lines

A block whose first line is `# NAME.py` or `// NAME.js` is saved under that name.
"""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
RUN = {"sh", "bash", "python", "js"}
PARSED = {"json", "yaml"}
SHOWN = {"text"}
WITHIN_S = 110

FENCE = re.compile(r"^(?:<!-- *([^>]*?) *-->\n)?```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"\A(?:#|//) ([\w-]+\.(?:py|js))\n")
VARYING = re.compile(
    r"\b(?:evt|req|whsec|srk|end|dlv)_[\w+/=-]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[\d-]{10}T[\d:.]+Z|\d+"
)


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its fence."""

    page: Path
    line: int
    mark: str
    language: str
    text: str

    @property
    def place(self) -> str:
        """For people who look for it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def reason(self) -> str:
        """Why it is not run; empty when it is."""
        return self.mark.removeprefix("not run:").strip() if self.mark.startswith("not run:") else ""

    @property
    def is_run(self) -> bool:
        """True for code without a mark that forbids it."""
        return self.language in RUN and not self.reason

    @property
    def is_output(self) -> bool:
        """True for what the block before it prints."""
        return self.mark == "prints"


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    source = page.read_text("utf-8")
    return [
        Block(page, source.count("\n", 0, found.start(2)) + 1, found[1] or "", found[2], found[3])
        for found in FENCE.finditer(source)
    ]


@dataclass(frozen=True)
class Walk:
    """One page that was run: how it ended, what each block printed, and the block that was the last to begin."""

    code: int
    printed: dict[Block, str]
    last: Block


async def walk(blocks: Sequence[Block], folder: Path, environment: Mapping[str, str]) -> Walk:
    """Run the blocks in one shell in `folder`; it stops at the first that fails."""
    script = "".join(
        ["set -eo pipefail\n", *(_step(number, block, folder) for number, block in enumerate(blocks))]
    )
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), cwd=folder, env=_surroundings(folder, environment), start_new_session=True
    )
    try:
        code = await asyncio.wait_for(shell.wait(), WITHIN_S)
    finally:
        _end_group(shell.pid)
    outputs = {block: folder / f"{number}.out" for number, block in enumerate(blocks)}
    printed = {block: output.read_text("utf-8") for block, output in outputs.items() if output.exists()}
    return Walk(code, printed, list(printed)[-1])


def differences(shown: str, printed: str) -> Iterator[str]:
    """The lines of `shown` that do not occur in `printed` in that order."""
    rest = iter(_without_what_varies(printed))
    for line in _without_what_varies(shown):
        if line != "..." and line not in rest:
            yield line


def _without_what_varies(text: str) -> list[str]:
    lines = (VARYING.sub("#", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def _step(number: int, block: Block, folder: Path) -> str:
    named = NAMED.match(block.text)
    if block.language in {"sh", "bash"}:
        command = block.text
    else:
        suffix = (
            "py" if block.language == "python" else "mjs" if re.search(r"^import ", block.text, re.M) else "cjs"
        )
        name = named[1] if named else f"block{number}.{suffix}"
        (folder / name).write_text(block.text, "utf-8")
        program = "python" if block.language == "python" else "node"
        command = ":" if named else f"{program} {shlex.quote(name)}"
    run = f"{{\n{command.rstrip()}\n}} > {number}.out 2>&1 < /dev/null"
    return f"if {run}; then exit 99; fi\n" if block.mark == "fails" else f"{run}\n"


def _surroundings(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """A bare environment; curl fails for what a reader would see as an error."""
    (folder / ".curlrc").write_text("fail-with-body\nshow-error\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "COLUMNS": "120", **environment}


def _end_group(leader: int) -> None:
    """Servers that a page has started in the background end with it."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
