"""Which names have secrets for values."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from urllib.parse import unquote

from otel_search.redaction.guards import Guards
from otel_search.redaction.table import KEPT, KEYS

OWN = "secret"
"""The kind of secret that the user's own names have for values."""

_LONGEST = 128
"""Characters: callers choose names, and longer ones must not fill the memory."""


class Names:
    """Decides by a name what kind of secret its value is.

    Args:
        own: More names, in any case, with any signs between words.
        keep: Names that are no secrets.
        personal: Whether personal data count.
    """

    def __init__(self, own: Iterable[str] = (), keep: Iterable[str] = (), *, personal: bool = False) -> None:
        rows = [row for row in KEYS if personal or not row.personal]
        mine = {normal: OWN for key in own if (normal := _normal(key)) and normal != "redacted"}
        self._own = frozenset(mine)
        self._kept = frozenset(map(_normal, keep))
        self._in_fields = {name: row.kind for row in rows for name in row.names} | mine
        self._in_urls = self._in_fields | {name: row.kind for row in rows for name in row.in_urls} | mine
        self._of_many = {name: row.kind for row in rows for name in row.of_many if name not in self._kept}
        self._of_ending = {f"_{ending}": row.kind for row in rows for ending in row.endings}
        self._endings = tuple(sorted(self._of_ending, key=len, reverse=True))
        words = [guard for row in rows for guard in row.guards]
        self._guards = Guards([*words, *(max(name.split("_"), key=len) for name in mine)])
        self._guards_of_urls = Guards(f"{name}=" for row in rows for name in row.in_urls)
        self._known = functools.lru_cache(maxsize=2048)(self._decide)

    def field(self, name: str) -> str | None:
        """What kind of secret a field, attribute or header of this name has for its value, or `None`."""
        return self._known(name, False) if len(name) <= _LONGEST else self._decide(name, False)

    def parameter(self, name: str) -> str | None:
        """As `field`, for the parameter of a URL or a form; its name may be percent-encoded."""
        return self._known(name, True) if len(name) <= _LONGEST else self._decide(name, True)

    def many(self, name: str) -> str | None:
        """What kind of secrets a list or mapping of this name holds, or `None`."""
        # Most names are those of one thing.
        if name[-1:] not in ("s", "S"):
            return None
        normal = _normal(name[-_LONGEST:])
        last = normal if "." not in name else _normal(name.rpartition(".")[2])
        return self._of_many.get(normal) or self._of_many.get(last)

    def _decide(self, name: str, in_url: bool) -> str | None:
        if name in KEPT and not in_url:
            return None
        if "%" in name:
            name = decoded(name)
        normal = _normal(name)
        if normal in self._kept:
            return None
        kinds = self._in_urls if in_url else self._in_fields
        if normal in kinds:
            return kinds[normal]
        for ending in self._endings:
            if normal.endswith(ending):
                return self._of_ending[ending]
        if "." in name or "[" in name:  # http.request.header.cookie, user[pwd]
            return self._in_fields.get(_normal(re.split(r"[.\[]", name.rstrip("]"))[-1]))
        return None

    def is_own(self, name: str) -> bool:
        """Whether it is one of the user's own names."""
        return bool(self._own) and _normal(name) in self._own

    def can_be_in(self, lower: str) -> bool:
        """Whether a decoded text in lower case can hold one of the names, which is soon found out."""
        # A name has to be set apart from its value.
        if "=" in lower:
            return self._guards.may_be_in(lower) or self._guards_of_urls.may_be_in(lower)
        is_set_apart = ":" in lower or '"' in lower or "'" in lower or "--" in lower
        return is_set_apart and self._guards.may_be_in(lower)


def _normal(name: str) -> str:
    """A name in lower case, with `_` between its words."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()).strip("_")


def decoded(text: str) -> str:
    """A text without its percent-encoding, twice: a proxy may have encoded what was encoded already."""
    return unquote(unquote(text))
