"""What a URL of the page may ask for. A bad value is answered 400 with what is accepted."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.requests import Request

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Window:
    """The last so many seconds, in steps of a chart.

    Attributes:
        slots: The size of the stored slots of requests that the steps are made of, in seconds.
    """

    name: str
    seconds: int
    step: int
    slots: int

    def start(self) -> int:
        """When it begins: seconds since the epoch, at the beginning of a step."""
        return (int(time.time()) - self.seconds) // self.step * self.step

    def times(self) -> list[int]:
        """The beginnings of its steps, the unfinished last one left out."""
        return list(range(self.start(), int(time.time()) - self.step + 1, self.step))


WINDOWS = {
    window.name: window
    for window in (
        Window("5m", 300, 5, 5),
        Window("15m", 900, 15, 5),
        Window("1h", 3600, 60, 60),
        Window("6h", 6 * 3600, 300, 60),
        Window("24h", 24 * 3600, 1200, 60),
    )
}
DEFAULT_WINDOW = "15m"


def window_of(request: Request) -> Window:
    """The parameter `window`."""
    return WINDOWS[choice(request, "window", WINDOWS, DEFAULT_WINDOW)]


def choice(request: Request, name: str, accepted: Collection[str], default: str = "") -> str:
    """A parameter that is one of some words."""
    value = request.query_params.get(name) or default
    if value != default and value not in accepted:
        raise HTTPException(400, f"{name} is {value[:80]!r}; accepted: {', '.join(accepted)}")
    return value


def text(request: Request, name: str) -> str:
    """A parameter that is any text, without what cannot be seen."""
    return "".join(letter for letter in request.query_params.get(name, "")[:300] if letter.isprintable()).strip()


def whole_number(request: Request, name: str) -> int | None:
    """A parameter that is a whole number, or `None` if it is not there."""
    value = request.query_params.get(name, "").strip()
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 19 or int(value) >= 2**63:
        raise HTTPException(400, f"{name} is {value[:80]!r}; accepted: a whole number")
    return int(value)


def match_of(words: str) -> str:
    """A text as a full-text query: each of its words, or one that begins with it."""
    return " ".join(f'"{word}"*' for word in re.findall(r"[^\W_]+", words))
