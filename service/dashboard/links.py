"""Addresses of a list's other pages: the filters stay, the cursor changes. And filters that were left empty."""

from typing import Protocol

from fastapi import Request
from pydantic import BeforeValidator

from service.api.cursors import encode

Blank = BeforeValidator(lambda value: None if value == "" else value)
"""A field of a form that nothing was entered into asks for nothing."""


class Listed(Protocol):
    """A row of a list in order of creation."""

    created_at_ms: int
    id: str


def first_page(request: Request) -> str:
    """The same list from its beginning."""
    return _address(request.url.path, request.url.remove_query_params("cursor").query)


def page_after(request: Request, row: Listed) -> str:
    """The same list behind this row."""
    return page_at(request, encode(row.created_at_ms, row.id))


def page_at(request: Request, cursor: str) -> str:
    """The same list from a cursor on."""
    return _address(request.url.path, request.url.include_query_params(cursor=cursor).query)


def _address(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path
