"""What all documents have in common: they are open, and most are made from a row."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from service.clock import iso

MASK = "*" * 18  # as Soniox masks it

AT = "2026-11-20T14:00:00.125Z"
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "examples": [AT]})]
ID = "01a1f93b-7eb1-7ce7-8789-bd762a3e5689"
Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid", "examples": [ID]})]


class Open(BaseModel):
    """More fields may come; callers must ignore what they do not know."""

    model_config = ConfigDict(extra="allow")


class Shown(Open):
    """What is made from a row: fields have the names of its columns, `created_at` that of `created_at_ms`."""

    @classmethod
    def of(cls, row: Any, **more: Any) -> Self:
        """The row as it is shown; `more` has the fields that are not in it, or not as they are shown."""
        return cls(**{name: _read(row, name) for name in cls.model_fields if name not in more}, **more)


def _read(row: Any, name: str) -> Any:
    is_moment = name == "at" or name.endswith("_at")
    return iso(getattr(row, f"{name}_ms")) if is_moment else getattr(row, name)
