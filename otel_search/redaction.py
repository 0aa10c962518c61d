"""What must not leave the process: secrets in names, headers, URLs and texts.

Pure functions over strings. A secret keeps its name and loses its value, so that one sees that
something was there. The values of Elasticsearch queries are the business of `query.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

REDACTED = "[redacted]"

SECRET_KEYS = (
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "client_secret",
    "code",
    "cookie",
    "credential",
    "id_token",
    "jwt",
    "pass",
    "passwd",
    "password",
    "private_key",
    "proxy_authorization",
    "pwd",
    "refresh_token",
    "secret",
    "secret_key",
    "session",
    "session_id",
    "sessionid",
    "set_cookie",
    "sig",
    "signature",
    "token",
    "x_amz_credential",
    "x_amz_security_token",
    "x_amz_signature",
    "x_api_key",
    "x_auth_token",
    "x_goog_credential",
    "x_goog_signature",
)
"""Names whose values are secrets, in lower case with `_` between words."""

# A name that ends like this is a secret's name, whatever stands before: `stripe_api_key`, `csrf_token`.
_SECRET_ENDINGS = ("_token", "_secret", "_password", "_passwd", "_api_key", "_apikey", "_signature", "_credential")

# `code` is an OAuth grant in a URL and everything from a country to an error number elsewhere.
_ONLY_IN_URLS = frozenset({"auth", "code", "sig", "session"})


class Redactor:
    """Hides secrets by the names in `SECRET_KEYS` and by names of the user's own.

    Args:
        keys: More names, in any case, with `-` or `_` between words.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        mine = {_normal(key) for key in keys}
        self._in_urls = frozenset(SECRET_KEYS) | mine
        self._in_fields = self._in_urls - (_ONLY_IN_URLS - mine)
        # Names may be percent-encoded in a URL: take every `name=value`, decide by the decoded name.
        self._pair = re.compile(r"([A-Za-z0-9_.%\[\]-]{1,128})=(?!\[redacted\])([^&;#\s\"'<>,)}\]]+)")
        names = "|".join(
            sorted((re.escape(key).replace("_", "[-_]?") for key in self._in_fields), key=len, reverse=True)
        )
        self._quoted = re.compile(
            rf"""((?:\\?["'])(?:[\w-]*[-_])?(?:{names})(?:\\?["'])\s*[:=]\s*)(\\?["'])((?:(?!\2).)+)\2""",
            re.IGNORECASE,
        )
        self._is_secret = functools.lru_cache(maxsize=2048)(self._decide)

    def secret_field(self, name: str) -> bool:
        """Whether the value of a log field, attribute or header of this name is a secret."""
        return self._is_secret(name, False)

    def secret_parameter(self, name: str) -> bool:
        """Whether the value of a URL or form parameter of this name is a secret; it may be percent-encoded."""
        return self._is_secret(name, True)

    def _decide(self, name: str, in_url: bool) -> bool:
        normal = _normal(_decoded(name) if in_url and "%" in name else name)
        return normal in (self._in_urls if in_url else self._in_fields) or normal.endswith(_SECRET_ENDINGS)

    def query_string(self, query: str) -> str:
        """A URL query with the values of secret parameters replaced; all else, order and encoding included, stays."""
        return self._pair.sub(self._hide_in_url, query) if "=" in query else query

    def text(self, text: str) -> str:
        """A message, URL or traceback with secrets in URLs, headers and quoted `key: value` pairs replaced."""
        if "=" in text:
            text = self._pair.sub(self._hide_in_text, text)
        if ":" in text:
            if "@" in text:
                text = _USER_INFO.sub(rf"\1{REDACTED}@", text)
            text = self._quoted.sub(rf"\1\2{REDACTED}\2", text)
        if "e" in text or "E" in text:
            text = _SCHEMES.sub(rf"\1 {REDACTED}", text)
        return text

    def _hide_in_url(self, match: re.Match[str]) -> str:
        return f"{match[1]}={REDACTED}" if self.secret_parameter(match[1]) else match[0]

    def _hide_in_text(self, match: re.Match[str]) -> str:
        in_url = match.string[match.start() - 1 : match.start()] in ("?", "&")
        return f"{match[1]}={REDACTED}" if self._is_secret(match[1], in_url) else match[0]


# https://user:password@host/ — everything up to the last @ before the path is user info.
_USER_INFO = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)[^/\s\"'@]{1,256}@", re.IGNORECASE)
# The values of an Authorization header (RFC 9110) and Elasticsearch's own scheme.
_SCHEMES = re.compile(r"\b(Bearer|Basic|ApiKey|Digest|Negotiate) +(?!realm)[A-Za-z0-9+/=._~:-]{8,}", re.IGNORECASE)


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()).strip("_")


def _decoded(name: str) -> str:
    # Twice: a proxy may have encoded a name that was encoded already.
    from urllib.parse import unquote

    return unquote(unquote(name))
