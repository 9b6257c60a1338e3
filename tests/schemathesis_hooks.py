"""What schemathesis must know to test this API with all of its checks on.

A refusal of a request that is true to the schema is only right where a rule is behind it that no schema can say:
each such rule is listed here, and anything else is a failure.
"""

import re
from typing import Any

import schemathesis

RULES = (
    "is set by the relay or by HTTP itself",
    "a header is named twice",
    "Invalid cursor",
    "ids of events",
    "unknown event type",
    "to look for",
    "is not an id",
    "must not be less than",
    "go together",
    "must differ",
    "the URL has no host",
    "this is not a URL that can be called",
    "Invalid IPv6 URL",
    "does not appear to be an IPv4 or IPv6 address",
    "contains invalid characters under NFKC normalization",
    "is set by the relay itself",
    "The URL is refused",
    "of at most 2048 characters",
    "NUL character",
    "the number is too large",
    "over 16384 bytes",
    "Idempotency-Key",
    "should match pattern '^https?://[^",  # white space: Unicode's here, JSON Schema's has other characters
)
KNOWN = re.compile("|".join(map(re.escape, RULES)))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A form spells every value as text, so that what is wrong by the schema may be right on the wire."""
    is_form = case.method == "POST" and case.media_type == "multipart/form-data"
    if is_form and case.meta and case.meta.generation.mode.is_negative:
        case._meta = None  # neither a good case nor a bad one: all other checks still hold
    if case.method == "GET" and case.path == "/v1/events" and (case.query or {}).get("types") in ("", [], [""]):
        case._meta = None  # a list without entries is spelled like one that nobody asked for


@schemathesis.check
def a_valid_request_is_only_refused_by_a_known_rule(context: Any, response: Any, case: Any) -> None:
    """The sharp form of `positive_data_acceptance`, which is told to expect 400 and 422."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if is_valid and response.status_code in {400, 422} and not KNOWN.search(response.text):
        raise AssertionError(f"refused by an unknown rule: {response.text[:300]}")
