"""What a setting accepts: parsers that raise `ValueError`, with the words for what they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from otel_search.settings.values import Rotation, Sampling, SlowQuery, seconds, words


@dataclass(frozen=True)
class Accepts:
    """What a variable accepts: a parser that raises `ValueError`, and the words for it."""

    parse: Callable[[str], Any]
    words: str


class PartlyAcceptedError(ValueError):
    """A list of which only a part can be used; its text names the rest.

    Args:
        refused: What cannot be used.
        value: What can.
    """

    def __init__(self, refused: str, value: Any) -> None:
        super().__init__(refused)
        self.value = value


def one_of(*choices: str) -> Accepts:
    """Exactly one of these words, in any case."""

    def parse(text: str) -> str:
        value = text.strip().lower()
        if value not in choices:
            raise ValueError
        return value

    return Accepts(parse, " | ".join(f"`{choice}`" for choice in choices))


def _boolean(text: str) -> bool:
    value = text.strip().lower()
    if value not in {"true", "false"}:
        raise ValueError
    return value == "true"


def _patterns(text: str) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(re.compile(pattern) for pattern in words(text))
    except re.error as error:
        raise ValueError from error


def _secrets(text: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    found: list[tuple[str, re.Pattern[str]]] = []
    refused: list[str] = []
    for part in filter(None, map(str.strip, text.split(";"))):
        name, pattern = map(str.strip, part.partition("=")[::2])
        try:
            compiled = re.compile(pattern)
        except re.error:
            compiled = re.compile("")
        # What matches nothing at all is everywhere.
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9 _.-]{0,39}", name) and not compiled.search(""):
            found.append((name, compiled))
        else:
            refused.append(repr(part))
    if refused:
        raise PartlyAcceptedError(" and ".join(refused), tuple(found))
    return tuple(found)


def _percents(text: str) -> tuple[float, float]:
    degraded, unhealthy = (float(word) for word in text.split(","))
    if not 0 < degraded <= unhealthy <= 101:
        raise ValueError
    return degraded, unhealthy


def whole(lowest: int, highest: int) -> Accepts:
    """A whole number in this range, both ends included."""

    def parse(text: str) -> int:
        value = int(text)
        if not lowest <= value <= highest:
            raise ValueError
        return value

    return Accepts(parse, f"a whole number, {lowest} to {highest}")


def some_of(*choices: str) -> Accepts:
    """Any of these words, or `none` for none of them."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(word.lower() for word in words(text))
        if chosen == ("none",):
            return ()
        if not set(chosen) <= set(choices):
            raise ValueError
        return chosen

    return Accepts(parse, f"any of {', '.join(f'`{choice}`' for choice in choices)}, separated by commas, or `none`")


def _gauges(text: str) -> tuple[tuple[str, str], ...]:
    pairs = tuple((name.strip(), how.strip()) for name, _, how in (word.rpartition("=") for word in words(text)))
    if not all(name and how in ("sum", "max", "min", "last") for name, how in pairs):
        raise ValueError
    return pairs


def _callers(text: str) -> tuple[tuple[str, str, str], ...]:
    found = [
        re.fullmatch(r"(user|session)=(header|cookie):([A-Za-z0-9!#$%&'*+.^_`|~-]{1,128})", w) for w in words(text)
    ]
    if not all(found):
        raise ValueError
    return tuple((each[1], each[2], each[3]) for each in found if each is not None)


def _path(text: str) -> str:
    value = "/" + text.strip().strip("/")
    # No dots alone, which clients take for a way up.
    if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+", value):
        raise ValueError
    return value


def _url(text: str) -> str:
    value = text.strip().rstrip("/")
    url = urlsplit(value)
    # A port that is none raises by itself.
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0 or re.search(r"\s", value):
        raise ValueError
    return value


def _urls(text: str) -> tuple[str, ...]:
    found = words(text)
    if not found:
        raise ValueError
    return tuple(map(_url, found))


def _positive_seconds(text: str) -> float:
    value = seconds(text)
    if value <= 0:
        raise ValueError
    return value


def _kpi_sources(text: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for word in words(text):
        name, equals, url = word.partition("=")
        if not equals or name not in ("prometheus", "elasticsearch"):
            name, url = ("elasticsearch", "") if word == "elasticsearch" else ("prometheus", word)
        found[name] = _url(url) if url or name == "prometheus" else ""
    return tuple(found.items())


def number(lowest: float, highest: float, words: str) -> Accepts:
    """A number in this range, both ends included."""

    def parse(text: str) -> float:
        value = float(text)
        if not lowest <= value <= highest:
            raise ValueError
        return value

    return Accepts(parse, words)


def _addresses(text: str) -> tuple[str, ...]:
    addresses = words(text)
    if not all(re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", address) for address in addresses):
        raise ValueError
    return addresses


BOOLEAN = Accepts(_boolean, "`true` | `false`")
ADDRESSES = Accepts(_addresses, "addresses of mail, separated by commas")
SECONDS = Accepts(seconds, "seconds, 0 to 3600")
POSITIVE_SECONDS = Accepts(_positive_seconds, "seconds, above 0, at most 3600")
WORDS = Accepts(words, "words, separated by commas")
PATTERNS = Accepts(_patterns, "regular expressions, separated by commas")
SECRETS = Accepts(_secrets, "`name=regular expression`, separated by semicolons")
LEVEL = one_of("debug", "info", "warning", "error", "critical")
TEXT = Accepts(str.strip, "text")
ROTATION = Accepts(Rotation.parse, "a size in `KB`, `MB` or `GB`, or `daily` | `hourly` | `off`")
SMALL_NUMBER = whole(0, 1000)
MEGABYTES = whole(1, 1_000_000)
GAUGES = Accepts(_gauges, "`name=sum`, `=max`, `=min` or `=last`, separated by commas")
CALLERS = Accepts(_callers, "`user=header:<name>`, `user=cookie:<name>`, and likewise `session=`, separated by commas")
PERCENTS = Accepts(_percents, "two percentages, the lower first, as in `80,90`")
PATH = Accepts(_path, "a path such as `/health`")
URL = Accepts(_url, "a URL with http or https")
URLS = Accepts(_urls, "URLs with http or https, separated by commas")
KPI_SOURCES = Accepts(
    _kpi_sources,
    "`prometheus=<url>`, `elasticsearch=<url>` or `elasticsearch`, separated by commas; a URL is Prometheus'",
)
SLOW_QUERY = Accepts(SlowQuery.parse, "seconds, and exceptions as `index=seconds`, separated by commas")
SAMPLING = Accepts(
    Sampling.parse,
    "lines of an event in a second, and one of how many then, as in `100,50`, or `100,50,warning`; or `off`",
)
