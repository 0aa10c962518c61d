"""The SDK's attribute containers, quicker for the attributes that nearly everything has.

`BoundedAttributes` walks, checks and copies each attribute of each span by itself. When the names
are plain, non-empty strings, the values plain and no limit cuts anything, the outcome is just the
dict: that case is recognised here in one pass, and everything else goes upstream's way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import attributes

_PLAIN = frozenset({str, int, float, bool, type(None)})

_container: Any = attributes.BoundedAttributes
_upstream: Any = getattr(_container, "_set_items", None)


def install() -> None:
    """Let the SDK's containers take the short way; without effect on SDKs before 1.44, which are built otherwise."""
    if _upstream is not None:
        _container._set_items = _set_items


def uninstall() -> None:
    """Give the SDK its own way back."""
    if _upstream is not None:
        _container._set_items = _upstream


def _set_items(self: Any, items: Mapping[str, Any]) -> None:
    if type(items) is dict and self.max_value_len is None and not self._immutable:
        for key, value in items.items():
            if type(value) not in _PLAIN or type(key) is not str or not key:
                break
        else:
            with self._lock:
                own = self._dict
                if self.maxlen is None or len(own) + len(items) <= self.maxlen:
                    own.update(items)
                    return
    _upstream(self, items)
