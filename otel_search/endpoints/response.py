"""A request for one of our own routes, and the answer to it, whichever server carries them."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
MAX_BODY = 4096
"""Bytes of a request's body that are read; what has more is no request of ours."""


class Paths(frozenset[str]):
    """Paths, and all that is below one of them.

    Attributes:
        below: What such paths begin with.
    """

    below = ""

    def __contains__(self, path: object) -> bool:
        return super().__contains__(path) or (
            bool(self.below) and isinstance(path, str) and path.startswith(self.below)
        )


@dataclass(frozen=True)
class Request:
    """What our routes look at.

    Attributes:
        path: Below the application's root path, without a slash at its end.
        method: As it came.
        query: The parameters of the URL; the last one of a name.
        headers: By lower-case name; the last one of a name.
        body: Of a PUT, as much as `MAX_BODY` bytes.
    """

    path: str
    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def is_authorized(self, token: str) -> bool:
        """Whether the request carries `token`, if there is one at all; how long it takes to tell says nothing."""
        scheme, _, given = self.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), token.encode())
        return bool(token) and scheme.lower() == "bearer" and same


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        status: The HTTP status.
        body: What a GET gets; a HEAD gets none.
        content_type: Of the body.
        headers: More headers.
    """

    status: int
    body: bytes = b""
    content_type: str = _TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


def json(status: int, content: Any) -> Response:
    """An answer in JSON, which nobody may keep."""
    body = orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(status, body, _JSON)


def text(status: int, line: str, **headers: str) -> Response:
    """An answer of one line."""
    return Response(status, f"{line}\n".encode(), _TEXT, headers)
