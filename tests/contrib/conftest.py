"""The lane in which contrib makes the server span: with a newer FastAPI there is nothing to see here."""

from __future__ import annotations

from tests.seen import NATIVE

collect_ignore_glob = ["test_*.py"] if NATIVE else []
