"""Metrics of the service at the service: what its process and machine do, and how it is all told.

`Metrics` answers `/metrics` for all workers of a server, whichever of them is asked. `workers.py`
says how and why that way.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from otel_search.metrics import exposition
from otel_search.metrics.garbage import uncollected
from otel_search.metrics.group import shared_directory
from otel_search.metrics.merging import Merged
from otel_search.metrics.snapshot import Reading
from otel_search.metrics.system import SYSTEM_METRICS, instrument_system, uptime
from otel_search.metrics.workers import Carried, Workers

__all__ = ["SYSTEM_METRICS", "Merged", "Metrics", "instrument_system", "shared_directory", "uptime"]

_WORTH_COMPRESSING = 1024


class Metrics:
    """The metrics of this server, told by one of its workers.

    Args:
        gauges: Patterns of names of gauges, and how those of several workers become one.
        carried: What else the workers tell each other by the same road.
    """

    def __init__(self, gauges: tuple[tuple[str, str], ...] = (), carried: Carried | None = None) -> None:
        self._reading = Reading()
        self._workers = Workers(self._reading.snapshot, gauges, carried)

    def begin(self) -> None:
        """Measure from now on, and take a place among the workers of the server."""
        self._reading.prepare()
        self._workers.join()

    def end(self) -> None:
        """Leave what has been counted to the others."""
        self._workers.leave()

    def merged(self) -> Merged:
        """The metrics of all workers, now; takes some milliseconds, so not on an event loop."""
        return self._workers.merged()

    def carried_by_others(self) -> list[bytes]:
        """What the other workers carry, now; takes half a second at most."""
        return self._workers.carried_by_others()

    @property
    def directory(self) -> Path | None:
        """What the workers share, or `None` if this process serves alone."""
        return self._workers.directory

    def text(self, accept: str, accept_encoding: str) -> tuple[bytes, str, dict[str, str]]:
        """The answer to a scrape.

        Args:
            accept: The request's header of that name.
            accept_encoding: Likewise.

        Returns:
            The body, its type, and more headers.
        """
        kind = exposition.content_type(accept)
        with uncollected():
            body = exposition.render(self.merged(), kind)
        headers = {"vary": "Accept, Accept-Encoding"}
        if len(body) > _WORTH_COMPRESSING and exposition.quality_of("gzip", accept_encoding) > 0:
            body, headers["content-encoding"] = gzip.compress(body, compresslevel=1, mtime=0), "gzip"
        return body, kind, headers
