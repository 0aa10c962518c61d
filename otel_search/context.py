"""What belongs to the request that is being served, as context variables."""

from __future__ import annotations

import re
from contextvars import ContextVar
from random import getrandbits
from typing import Any

REQUEST_ID: ContextVar[str | None] = ContextVar("otel_search_request_id", default=None)
"""The id of the request in this context, or `None` outside of a request."""


class Caller:
    """Who a request comes from, as far as it is known; one object for all tasks and threads of the request.

    Attributes:
        attributes: What is said of the caller, under its schema names; replaced, never changed.
        span: The server span, which is told of a caller who becomes known after its start.
    """

    __slots__ = ("attributes", "span")

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self.span: Any = None


CALLER: ContextVar[Caller | None] = ContextVar("otel_search_caller", default=None)
"""The caller of the request in this context, or of what runs in it outside of a request."""

EXCLUDED = "excluded request"
"""Value of OpenTelemetry's context key that suppresses instrumentation, inside of a request without telemetry.

Exporters set the same key to `True` around their own HTTP calls; what is logged in an excluded
request is the application's, and what is logged in an export is not.
"""

# Long enough for UUIDs, ULIDs, trace ids and load-balancer ids; no character that a log viewer,
# a shell, an HTTP header or a URL reads as more than text.
_VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=-]{0,127}", re.ASCII)


def is_id(text: str) -> bool:
    """Whether a text is only an id: 1 to 128 letters, digits and `. _ : @ = -`, the first of them a letter or digit."""
    return _VALID_ID.fullmatch(text) is not None


def accept_request_id(values: list[bytes]) -> str | None:
    """The request id of a caller, if it can be trusted to be only an id.

    Args:
        values: All `X-Request-ID` headers of the request, as they came.

    Returns:
        The id, or `None` when there is none, more than one, or one that is not 1 to 128 characters
        of letters, digits and `. _ : @ = -`, the first of them a letter or digit.
    """
    if len(values) != 1 or len(values[0]) > 128:
        return None
    text = values[0].decode("latin-1")
    return text if is_id(text) else None


def new_request_id() -> str:
    """A fresh request id: 32 lower-case hexadecimal digits."""
    # Not a secret: the generator that also makes trace ids, a hundred times faster than the system's.
    return f"{getrandbits(128):032x}"
