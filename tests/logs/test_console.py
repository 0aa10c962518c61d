"""The rendering for people."""

from __future__ import annotations

import logging

import pytest

from otel_search.settings import Settings

from .conftest import Chain


@pytest.fixture
def settings() -> Settings:
    return Settings(log_format="console")


def test_people_get_text_with_the_traceback_below(chain: Chain) -> None:
    try:
        raise ValueError("no such index")
    except ValueError:
        logging.getLogger("std").exception("search failed", extra={"index": "products"})
    out = chain.capsys.readouterr().out
    first, *rest = out.splitlines()
    assert "search failed" in first
    assert "products" in first
    assert "ValueError: no such index" in rest[-1]


def test_a_value_cannot_forge_a_line_or_command_the_terminal(chain: Chain) -> None:
    logging.getLogger("std").info("event", extra={"it": "x\n2026-11-25 forged\x1b[2J"})
    out = chain.capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert "\x1b[2J" not in out
