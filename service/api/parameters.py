"""What query parameters have in common: lists with commas, and the error that names one."""

from collections.abc import Iterable

from service.errors import InvalidRequest

SEVERAL = "May be given several times, or several separated by commas."


def several(values: Iterable[str]) -> tuple[str, ...]:
    """What was given several times or with commas; sorted and each once, since neither means anything."""
    return tuple(sorted({part.strip() for value in values for part in value.split(",") if part.strip()}))


def wrong(name: str, text: str) -> InvalidRequest:
    """The error for a parameter that the others make impossible."""
    return InvalidRequest("Invalid request.", problems=((f"query.{name}", text),))
