"""The SDK's hot path, made several times shorter where the outcome is the same.

- `attributes`: attributes that are plain already are not cleaned, copied and sorted one by one.
- `spans`: a span is made with what it needs, and the rest when it is asked for.
- `measurements`: the place of a measurement is looked up once for each set of attributes.

Whatever is not as expected goes the SDK's own way: other versions, samplers, processors and views
keep working, and the tests hold each part against upstream's code. `OTEL_SEARCH_HOT_PATH=upstream`
leaves the SDK as it is.
"""

from __future__ import annotations

from otel_search.lean import attributes, measurements, spans

_PARTS = (attributes, spans, measurements)


def install() -> None:
    """Let the SDK take the short way."""
    for part in _PARTS:
        part.install()


def uninstall() -> None:
    """Give the SDK its own way back."""
    for part in _PARTS:
        part.uninstall()
