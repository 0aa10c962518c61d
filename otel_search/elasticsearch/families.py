"""Collection families: index names without what makes them many."""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote

from otel_search.elasticsearch.bounded import Bounded
from otel_search.semconv import OTHER

ALL = "_all"

# Families of one process. Beyond it a new one counts as `_other`: metrics must not grow with the data.
MAX_FAMILIES = 200
_MAX_LENGTH = 128
_MAX_MEMBERS = 3

_DAY, _MONTH, _YEAR = "(?:0[1-9]|[12][0-9]|3[01])", "(?:0[1-9]|1[0-2])", "(?:19|20)[0-9]{2}"
_TIME = "(?:[-._tT]?(?:[01][0-9]|2[0-3])(?:[-._:]?[0-5][0-9]){0,2})?"
_DATE = re.compile(
    rf"(?<![0-9])(?:{_YEAR}(?:[-._]?{_MONTH}(?:[-._]?{_DAY}{_TIME})?|[-._]?[wW][0-9]{{2}}|[-._]?[qQ][1-4])?"
    rf"|{_DAY}[-._]{_MONTH}[-._]{_YEAR})(?![0-9])"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_DATE_MATH = re.compile(r"\{[^{}]*(?:\{[^{}]*\})?[^{}]*\}")
# Rollover generations and numeric ids; one or two digits are a version that people chose.
_NUMBER = re.compile(r"[0-9]{3,}")
_HEX = re.compile(r"(?=[a-fA-F]*[0-9])[0-9a-fA-F]{7,}")
_ID = re.compile(r"(?=[A-Za-z]*[0-9])[0-9A-Za-z]{16,}")
_TOKEN = re.compile(r"[0-9A-Za-z]+")
_STARS = re.compile(r"\*(?:[-._:]*\*)+")


@functools.lru_cache(maxsize=4096)
def family_of(name: str) -> str:
    """The family of an index, alias or data stream name as a caller wrote it.

    Args:
        name: The target of a call: one name or several with commas, perhaps percent-encoded.

    Returns:
        The name with dates, generations, hashes and ids as `*`; the data stream of a backing index;
        up to three distinct families with commas; `_other` for more.
    """
    name = unquote(name) if "%" in name else name
    if len(name) > 32 * _MAX_LENGTH:
        return OTHER
    found = sorted({_one(part) for part in name.split(",") if part})
    if not found:
        return ALL
    return ",".join(found) if len(found) <= _MAX_MEMBERS else OTHER


def _one(name: str) -> str:
    if name in {"*", ALL}:
        return ALL
    # Mounted from a snapshot.
    for mounted in ("partial-", "restored-"):
        if name.startswith((f"{mounted}.ds-", f"{mounted}.fs-")):
            name = name.removeprefix(mounted)
    backing = name.startswith((".ds-", ".fs-"))
    if name.startswith("<") and name.endswith(">"):
        name = _DATE_MATH.sub("*", name[1:-1])
    name = _UUID.sub("*", name)
    name = _DATE.sub("*", name)
    name = _STARS.sub("*", _TOKEN.sub(_cut, name))
    if backing:
        # `.ds-logs-nginx-default-2026.11.25-000001` belongs to the data stream `logs-nginx-default`.
        name = name[4:].removesuffix("*").rstrip("-")
    return name if len(name) <= _MAX_LENGTH else OTHER


def _cut(match: re.Match[str]) -> str:
    token = match[0]
    return "*" if _NUMBER.fullmatch(token) or _HEX.fullmatch(token) or _ID.fullmatch(token) else token


class Families:
    """The families that this process has seen, bounded in number."""

    def __init__(self, limit: int = MAX_FAMILIES) -> None:
        self._bounded = Bounded(limit)

    def of(self, name: str | None) -> str | None:
        """The family of `name`; `None` for a call without a target."""
        return self._bounded(family_of(name)) if name else None
