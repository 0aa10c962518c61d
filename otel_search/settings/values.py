"""Values that are more than a word or a number: each reads itself, and shows itself as a user would write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

_USER_INFO = re.compile(r"(?:(?<=://)|(?<![^\s,=]))[^\s:/@,=]+:(?!//)\S*@")


def without_user_info(text: str) -> str:
    """A value that may be a URL with a password in it, or what was meant to be one, as it may be shown."""
    return _USER_INFO.sub("[redacted: user info]@", text)


def words(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def seconds(text: str) -> float:
    """Seconds, up to an hour; raises `ValueError`."""
    value = float(text)
    if not 0 <= value <= 3600:
        raise ValueError
    return value


@dataclass(frozen=True)
class SlowQuery:
    """From when on an Elasticsearch call is slow, by collection.

    Attributes:
        default: Seconds; 0 for never.
        exceptions: Patterns of index names, in the order in which they are tried, with their seconds.
    """

    default: float = 1.0
    exceptions: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> SlowQuery:
        """The thresholds in `1,products=0.3`; raises `ValueError`."""
        default, exceptions = cls.default, []
        if sum("=" not in word for word in words(text)) > 1:
            raise ValueError
        for word in words(text):
            pattern, equals, threshold = word.rpartition("=")
            if equals and not pattern.strip():
                raise ValueError
            if equals:
                exceptions.append((pattern.strip(), seconds(threshold)))
            else:
                default = seconds(word)
        return cls(default, tuple(exceptions))

    def of(self, collection: str | None) -> float:
        """The threshold for calls on `collection`, in seconds; 0 for never."""
        for pattern, threshold in self.exceptions:
            if collection is not None and fnmatchcase(collection, pattern):
                return threshold
        return self.default

    def __str__(self) -> str:
        exceptions = (f"{pattern}={threshold:g}" for pattern, threshold in self.exceptions)
        return ",".join([f"{self.default:g}", *exceptions])


@dataclass(frozen=True)
class Rotation:
    """When a log file is rotated.

    Attributes:
        max_bytes: Before it becomes larger than this; 0 for never.
        period: When another period of so many seconds since the epoch (UTC) has begun; 0 for never.
    """

    max_bytes: int = 10_000_000
    period: int = 0

    @classmethod
    def parse(cls, text: str) -> Rotation:
        """The rotation in `10MB`, `daily`, `hourly` or `off`; raises `ValueError`."""
        word = text.strip().lower()
        if word in ("daily", "hourly", "off"):
            return cls(0, {"daily": 86_400, "hourly": 3_600, "off": 0}[word])
        found = re.fullmatch(r"(\d{1,6})\s*(kb|mb|gb)", word)
        if not found or not int(found[1]):
            raise ValueError
        return cls(int(found[1]) * {"kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}[found[2]])

    def __str__(self) -> str:
        if self.max_bytes:
            return f"{self.max_bytes // 1_000_000}MB"
        return {86_400: "daily", 3_600: "hourly"}.get(self.period, "off")


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@dataclass(frozen=True)
class Sampling:
    """How repetitive log lines are sampled.

    Attributes:
        first: So many of each event in a second are kept; 0 for all, always.
        then: And of the others one of so many.
        level: Up to which level, as in `logging`.
    """

    first: int = 0
    then: int = 1
    level: int = 20

    @classmethod
    def parse(cls, text: str) -> Sampling:
        """The sampling in `100,50` or `100,50,warning`, or `off`; raises `ValueError`."""
        parts = words(text.lower())
        if parts == ("off",):
            return cls()
        first, then = (int(part) for part in parts[:2])
        if not 1 <= first <= 1_000_000 or not 1 <= then <= 1_000_000 or len(parts) > 3:
            raise ValueError
        level = parts[2] if len(parts) == 3 else "info"
        if level not in _LEVELS:
            raise ValueError
        return cls(first, then, _LEVELS[level])

    def __str__(self) -> str:
        if not self.first:
            return "off"
        level = next(word for word, number in _LEVELS.items() if number == self.level)
        return f"{self.first},{self.then}" + ("" if level == "info" else f",{level}")
