"""What must not leave the process: secrets in names, headers, URLs and texts.

Pure functions over strings. A secret keeps its name and loses its value, so that one sees that
something was there. Redacting twice changes nothing. The values of Elasticsearch queries are the
business of `query`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from urllib.parse import unquote

REDACTED = "[redacted]"

SECRET_KEYS = (
    "access_key",
    "access_token",
    "account_key",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "client_secret",
    "code",
    "cookie",
    "credential",
    "csrf",
    "encryption_key",
    "id_token",
    "jsessionid",
    "jwt",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "phpsessid",
    "private_key",
    "proxy_authorization",
    "pwd",
    "refresh_token",
    "saml_response",
    "samlresponse",
    "secret",
    "secret_key",
    "session",
    "session_id",
    "sessionid",
    "set_cookie",
    "sig",
    "signature",
    "signing_key",
    "subscription_key",
    "token",
    "x_amz_credential",
    "x_amz_security_token",
    "x_amz_signature",
    "x_api_key",
    "x_auth_token",
    "x_goog_credential",
    "x_goog_signature",
    "xsrf",
)
"""Names whose values are secrets, in lower case with `_` between words."""

# A name that ends like this is a secret's name, whatever stands before: `stripe_api_key`, `csrf_token`.
_SECRET_ENDINGS = (
    "_access_key",
    "_api_key",
    "_apikey",
    "_credential",
    "_passwd",
    "_password",
    "_private_key",
    "_secret",
    "_secret_key",
    "_signature",
    "_subscription_key",
    "_token",
)

# `code` is an OAuth grant in a URL and everything from a country to an error number elsewhere.
_ONLY_IN_URLS = frozenset({"auth", "code", "session", "sig"})


class Redactor:
    """Hides secrets by the names in `SECRET_KEYS` and by names of the user's own.

    Args:
        keys: More names, in any case, with `-` or `_` between words.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        mine = {normal for key in keys if (normal := _normal(key))}
        self._in_urls = frozenset(SECRET_KEYS) | mine
        self._in_fields = self._in_urls - (_ONLY_IN_URLS - mine)
        names = "|".join(
            sorted((re.escape(key).replace("_", "[-_]?") for key in self._in_fields), key=len, reverse=True)
        )
        value = r"""((?:(?!\2).)+)\2"""
        name = rf"""(?:[\w-]{{1,64}}[-_])?(?:{names})"""
        # {"password": "x"}, also as JSON in a string
        self._quoted = re.compile(rf"""((?:\\?["']){name}(?:\\?["'])\s*[:=]\s*)(\\?["']){value}""", re.IGNORECASE)
        # (b'cookie', b'x'), as frameworks hold headers
        self._tuple = re.compile(rf"""((?:\(b?|\[b)["']{name}["'],\s*b?)(["']){value}""", re.IGNORECASE)
        self._known = functools.lru_cache(maxsize=2048)(self._decide)

    def secret_field(self, name: str) -> bool:
        """Whether the value of a log field, attribute or header of this name is a secret."""
        return self._is_secret(name, False)

    def secret_parameter(self, name: str) -> bool:
        """Whether the value of a URL or form parameter of this name is a secret; it may be percent-encoded."""
        return self._is_secret(name, True)

    def _is_secret(self, name: str, in_url: bool) -> bool:
        # Callers choose the names: long ones must not fill the memory.
        return self._known(name, in_url) if len(name) <= 128 else self._decide(name, in_url)

    def _decide(self, name: str, in_url: bool) -> bool:
        normal = _normal(_decoded(name) if "%" in name else name)
        return normal in (self._in_urls if in_url else self._in_fields) or normal.endswith(_SECRET_ENDINGS)

    def query_string(self, query: str) -> str:
        """A URL query with secret values replaced; all else, order and encoding included, stays.

        A value that holds a secret of its own, such as an encoded URL with a token, is replaced as a whole.
        """
        if "=" not in query and "%" not in query:
            return query
        plain = _SUSPECT.search(query) is None and query.count("=") <= query.count("&") + 1
        if plain and not any(self._is_secret(part.partition("=")[0], True) for part in query.split("&")):
            return query  # the usual case, made short: there are only names to look at
        return "".join(
            self._parameter(part) if position % 2 == 0 else part
            for position, part in enumerate(_SEPARATOR.split(query))
        )

    def _parameter(self, part: str) -> str:
        name, equals, value = part.partition("=")
        if not equals:
            return REDACTED if "%" in part and self._holds_secret(part) else part
        if value and (
            self._is_secret(name, True) or (("=" in value or _SUSPECT.search(value)) and self._holds_secret(value))
        ):
            return f"{name}={REDACTED}"
        return part

    def _holds_secret(self, value: str) -> bool:
        plain = f"?{_decoded(value.replace('+', ' '))}"
        # Encoded once more inside: not followed, or a hostile text would lead us on without end.
        return self._text(plain, look_inside=False) != plain

    def text(self, text: str) -> str:
        """A message, URL or traceback with secrets in URLs, headers and `key: value` pairs replaced."""
        return self._text(text, look_inside=True)

    def _text(self, text: str, *, look_inside: bool) -> str:
        if "=" in text:
            text = self._pairs(text, look_inside)
        if ":" in text or "'" in text or '"' in text:
            if "@" in text:
                text = _USER_INFO.sub(rf"\1{REDACTED}@", text)
            if '"' in text or "'" in text:
                text = self._quoted.sub(rf"\1\2{REDACTED}\2", text)
                text = self._tuple.sub(rf"\1\2{REDACTED}\2", text)
            if ":" in text:
                text = _HEADER.sub(rf"\1{REDACTED}", text)
        if " " in text and any(scheme in text.lower() for scheme in _SCHEMES):
            text = _SCHEME.sub(rf"\1{REDACTED}", text)
        if "eyJ" in text:
            text = _JSON_WEB_TOKEN.sub(REDACTED, text)
        return text

    def _pairs(self, text: str, look_inside: bool) -> str:
        parts: list[str] = []
        done = position = 0
        look_inside = look_inside and "%" in text
        while match := _NAME_OF_PAIR.search(text, position):
            name, position = match[1], match.end()
            in_url = text[match.start() - 1 : match.start()] in ("?", "&", "#")
            if self._is_secret(name, in_url):
                value = _VALUE.match(text, position)
            else:
                # What is not a secret may hold one: in plain text that is the next pair's business.
                value = _ENCODED.match(text, position) if look_inside and in_url else None
                if value is not None and not (_SUSPECT.search(value[0]) and self._holds_secret(value[0])):
                    value = None
            if value is not None:
                quote = value[0][0] if value[0][0] in "\"'" else ""
                parts += text[done:position], quote, REDACTED, quote
                done = position = value.end()
        return "".join([*parts, text[done:]]) if parts else text


@functools.cache
def redactor_of(keys: tuple[str, ...] = ()) -> Redactor:
    """The redactor of a process's settings: its rooms share one, with what it has learnt of names."""
    return Redactor(keys)


# Names may be percent-encoded: take every `name=`, decide by the decoded name. Possessive, and
# only from the beginning of a name, so that the time is linear in the length of a hostile text.
_NAME = r"A-Za-z0-9_.%\[\]-"
_NAME_OF_PAIR = re.compile(rf"""(?<![{_NAME}])([{_NAME}]++)=(?!["']?\[redacted\])""")
_VALUE = re.compile(r""""[^"\r\n]*"|'[^'\r\n]*'|[^&;#\s"'<>,)}]+""")
_ENCODED = re.compile(r"""[^?&;#\s"'<>,)}%]*%[^?&;#\s"'<>,)}]+""")
_SEPARATOR = re.compile("([&;#])")
# What a harmless query has not: encoded pairs, URLs, user info, quotes, an authentication scheme, a JSON Web Token.
_SUSPECT = re.compile(
    r"[:;#@]|%(?:25)*(?:3[ad]|40|2[27])|eyJ|(?:bearer|basic|apikey|digest|negotiate)(?:\+|%20)", re.IGNORECASE
)
# https://user:password@host/: everything up to the last @ before the path is user info.
_USER_INFO = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)[^/?#\s\"']{1,512}@", re.IGNORECASE)
_SCHEMES = ("bearer ", "apikey ", "basic ", "digest ", "negotiate ")
# The values of an Authorization header (RFC 9110) and Elasticsearch's own scheme. "Basic" and
# "digest" are words too: after them only what looks encoded.
_SCHEME = re.compile(
    r"\b((?i:bearer|apikey) +(?=[\w+/=.~:-]{8})|(?i:basic|digest|negotiate) +(?=[\w+/=.~:-]*[A-Z0-9=])(?=[\w+/=.~:-]{8}))"
    r"[\w+/=.~:-]+",
    re.ASCII,
)
# After these words a colon is a header's or a form's, not a sentence's ("unexpected token: ...").
_HEADER = re.compile(
    r"\b((?:(?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?api[-_]?key|x-auth-token|pass(?:word|wd|phrase)|pwd"
    r"|client_secret|(?:access|refresh)_token)[ \t]*+:[ \t]*+)(?![\"'\[{(])[^\r\n,]+",
    re.IGNORECASE,
)
_JSON_WEB_TOKEN = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()).strip("_")


def _decoded(name: str) -> str:
    # Twice: a proxy may have encoded a name that was encoded already.
    return unquote(unquote(name))
