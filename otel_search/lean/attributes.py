"""The SDK's handling of attributes, quicker for those that nearly everything has.

The SDK walks, checks and copies every attribute of every span and measurement by itself. When the
names are plain, non-empty strings, the values plain and no limit cuts anything, the outcome is just
the dict: that case is recognised here in one pass, and everything else goes upstream's way.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry import attributes
from opentelemetry.sdk.metrics._internal import _view_instrument_match, measurement

# What a sampler hands on is wrapped in a proxy.
_DICTS = frozenset({dict, MappingProxyType})
_PLAIN = frozenset({str, int, float, bool, type(None)})

_OWNERS: tuple[tuple[Any, str], ...] = (
    (attributes.BoundedAttributes, "_set_items"),
    (measurement, "_clean_attribute_value"),
    (_view_instrument_match, "_hash_attributes"),
)
# SDKs before 1.44 are built otherwise: what they lack is left alone.
_upstream = {name: getattr(owner, name) for owner, name in _OWNERS if hasattr(owner, name)}


def install() -> None:
    """Let the SDK take the short way."""
    for owner, name in _OWNERS:
        if name in _upstream:
            setattr(owner, name, globals()[name])


def uninstall() -> None:
    """Give the SDK its own way back."""
    for owner, name in _OWNERS:
        if name in _upstream:
            setattr(owner, name, _upstream[name])


def are_plain(items: Mapping[str, Any]) -> bool:
    """Whether names and values are what the SDK would keep as they are, but for limits."""
    for key, value in items.items():  # noqa: SIM110 - `all` over a generator would cost more than the rest
        if type(value) not in _PLAIN or type(key) is not str or not key:
            return False
    return True


def _set_items(self: Any, items: Mapping[str, Any]) -> None:
    if type(items) in _DICTS and self.max_value_len is None and not self._immutable and are_plain(items):
        with self._lock:
            own = self._dict
            if self.maxlen is None or len(own) + len(items) <= self.maxlen:
                own.update(items)
                return
    _upstream["_set_items"](self, items)


def _clean_attribute_value(value: Any, max_string_value_length: int | None) -> Any:
    if type(value) is dict and max_string_value_length is None and are_plain(value):
        return value.copy()
    return _upstream["_clean_attribute_value"](value, max_string_value_length)


def _hash_attributes(value: Any) -> Any:
    if type(value) is dict and are_plain(value):
        return ("mapping", tuple([(key, (type(item).__name__, item)) for key, item in sorted(value.items())]))
    return _upstream["_hash_attributes"](value)
