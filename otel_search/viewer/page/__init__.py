"""The viewer's web page."""

from __future__ import annotations

from otel_search.viewer.page.app import PageServer, page_app

__all__ = ["PageServer", "page_app"]
