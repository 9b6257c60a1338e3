"""The revisions in the source tree, and what each says of itself."""

import re
from pathlib import Path

from service.db.schema import scripts_folder

PHASE = re.compile(r'^phase = "(pre|post)-deploy"$', re.MULTILINE)
SCRIPTS = sorted(scripts_folder().glob("versions/[0-9]*.py"))


def phase_of(script: Path) -> str | None:
    """`pre` or `post`, as the revision says; None when it does not."""
    found = PHASE.search(script.read_text("utf-8"))
    return found[1] if found else None


def revision_of(script: Path) -> str:
    """The id that a revision's file is named after."""
    return script.name.partition("_")[0]
