"""Manners at the terminal: colours, and a line of progress."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self, TextIO

from otel_search import settings


def may_use_color(stream: TextIO) -> bool:
    """Whether colours may be used: on a terminal that can, unless `NO_COLOR` is set (https://no-color.org)."""
    environ = settings.environment()
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Progress:
    """One line that says what is being done, on a terminal only; a context manager, which wipes it out.

    Args:
        stream: Usually stderr, so that stdout is the result's alone.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty() and settings.environment().get("TERM") != "dumb"

    def say(self, text: str) -> None:
        """Replace the line; an empty text wipes it out."""
        if self._shown:
            self._stream.write("\r\x1b[2K" + (f"{text} …"[:78] if text else ""))
            self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.say("")
