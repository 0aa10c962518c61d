"""Whose lines are whose: what we write in our own form, and what stays as it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from otel_search.logs.console import has_a_form_of_its_own
from otel_search.logs.kept import Kept


@dataclass
class Policy:
    """What is done with the lines that an application writes to the console itself.

    Attributes:
        lines: `ours` for all of them in our form, `theirs` for none, `auto` for those without a form of their own.
        correlation: Whether formatters also find the ids under upstream's names.
        service_name: The service.
        stands_aside: Whether this is a program that a service has started: nothing of what it writes is changed.
        kept: Hides secrets in the lines that keep their form, if any are to be hidden.
    """

    lines: Literal["auto", "ours", "theirs"] = "auto"
    correlation: bool = False
    service_name: str = ""
    stands_aside: bool = False
    kept: Kept | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing that the application writes is replaced."""
        return self.stands_aside or self.lines == "theirs"

    def keeps(self, handler: logging.Handler) -> bool:
        """Whether a console handler goes on writing its lines itself."""
        return self.lines == "theirs" or (self.lines == "auto" and has_a_form_of_its_own(handler))

    def looks_at(self, handler: logging.Handler) -> None:
        """Have secrets hidden in all that a console handler writes itself."""
        if self.kept is not None:
            self.kept.stand_in(handler)
