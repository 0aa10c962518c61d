"""structlog looks for the application's frame above its own: ours, which stand in between, are none either.

`CallsiteParameterAdder`, `StackInfoRenderer` and the records of `structlog.stdlib` would name our files else.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

_NAME = "_find_first_app_frame_and_name"


class Callsites:
    """structlog's own search for the frame of a log call, which also passes over ours.

    Args:
        modules: Names of our modules whose frames stand between the application's and structlog's.
    """

    def __init__(self, *modules: str) -> None:
        self._passed_over = (*modules, __name__)
        self._replaced: list[tuple[Any, Any, Any]] = []

    def install(self) -> None:
        """Stand in wherever structlog's modules keep the function."""
        original: Any = getattr(sys.modules.get("structlog._frames"), _NAME, None)
        if original is None:  # another version's
            return

        @functools.wraps(original)
        def find(additional_ignores: Any = None, *args: Any, **kwargs: Any) -> Any:
            return original([*(additional_ignores or ()), *self._passed_over], *args, **kwargs)

        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "structlog" and getattr(module, "__dict__", {}).get(_NAME) is original:
                setattr(module, _NAME, find)
                self._replaced.append((module, original, find))

    def uninstall(self) -> None:
        """Give it back, where it is still ours."""
        for module, original, find in self._replaced:
            if getattr(module, _NAME, None) is find:
                setattr(module, _NAME, original)
        self._replaced = []
