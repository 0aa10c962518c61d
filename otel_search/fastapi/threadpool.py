"""What a synchronous dependency or route binds with structlog reaches the rest of its request.

FastAPI runs them in a thread with a copy of the context, and forgets the copy. Only structlog's
variables are carried back, so that the application's own context variables behave as documented.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from structlog.contextvars import STRUCTLOG_KEY_PREFIX

# The modules that have imported the function by its name.
_IMPORTED_BY = ("fastapi.concurrency", "fastapi.dependencies.utils", "fastapi.routing")
_NAME = "run_in_threadpool"

_originals: dict[str, Callable[..., Any]] = {}


def install() -> None:
    """Carry bound values back from FastAPI's thread pool."""
    for name in _IMPORTED_BY:
        module = importlib.import_module(name)
        original = getattr(module, _NAME, None)
        if original is not None and name not in _originals:
            _originals[name] = original
            setattr(module, _NAME, _carrying(original))


def uninstall() -> None:
    """Give FastAPI its function back."""
    for name, original in _originals.items():
        setattr(importlib.import_module(name), _NAME, original)
    _originals.clear()


def _carrying(original: Callable[..., Any]) -> Callable[..., Any]:
    async def run_in_threadpool(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        try:
            return await original(context.run, func, *args, **kwargs)
        finally:
            _carry_back(context)

    return run_in_threadpool


def _carry_back(context: Context) -> None:
    for variable, value in context.items():
        if variable.name.startswith(STRUCTLOG_KEY_PREFIX) and variable.get(None) is not value:
            variable.set(value)
