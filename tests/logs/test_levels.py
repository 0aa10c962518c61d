"""Levels that are changed while the service runs, and repetitive lines that are left out."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import pytest
import structlog

from otel_search import logs
from otel_search.logs.sampling import Sampler
from otel_search.settings import Settings
from otel_search.settings.values import Sampling

from .conftest import Chain

LATER = time.time() + 3600


def levels() -> Any:
    found = logs.levels()
    assert found is not None
    return found


def test_a_level_is_changed_and_goes_back(chain: Chain) -> None:
    logging.getLogger("telling.more").debug("unseen")
    levels().apply({"telling": (logging.DEBUG, LATER)})
    logging.getLogger("telling.more").debug("seen")
    logging.getLogger("other").debug("unseen")
    levels().apply({})
    logging.getLogger("telling.more").debug("unseen again")
    assert [line["event"] for line in chain.lines() if line["level"] == "debug"] == ["seen"]
    assert logging.getLogger("telling").level == logging.NOTSET


def test_a_change_ends_with_its_time(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    levels().apply({"telling": (logging.DEBUG, LATER), "other": (logging.ERROR, LATER + 60)})
    monkeypatch.setattr(time, "time", lambda: LATER + 1)
    levels().expire()
    assert set(levels().changes) == {"other"}
    assert logging.getLogger("telling").level == logging.NOTSET
    assert logging.getLogger("other").level == logging.ERROR


def test_a_level_that_the_application_sets_meanwhile_stays(chain: Chain) -> None:
    levels().apply({"telling": (logging.DEBUG, LATER)})
    logging.getLogger("telling").setLevel(logging.WARNING)
    levels().apply({})
    assert logging.getLogger("telling").level == logging.WARNING
    logging.getLogger("telling").setLevel(logging.NOTSET)


@pytest.mark.parametrize("cached", [True, False])
def test_structlogs_filtering_loggers_heed_it_even_if_they_are_cached(chain: Chain, cached: bool) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), cache_logger_on_first_use=cached
    )
    shop, other = structlog.get_logger("shop.search"), structlog.get_logger("stock")
    shop.info("first")
    other.info("first")
    chain.lines()
    levels().apply({"shop": (logging.DEBUG, LATER), "stock": (logging.ERROR, LATER)})
    shop.debug("shop debug")
    other.debug("stock debug")
    other.warning("stock warning")
    other.error("stock error")
    structlog.get_logger("third").debug("third debug")
    structlog.get_logger("third").info("third info")
    levels().apply({})
    shop.debug("shop debug again")
    other.warning("stock warning again")
    seen = [line["event"] for line in chain.lines() if line["logger"] != "otel_search.logs"]
    assert seen == ["shop debug", "stock error", "third info", "stock warning again"]


def test_asking_for_a_level_makes_no_logger(chain: Chain) -> None:
    assert levels().state("nobody.has.this").effective == logging.INFO
    assert "nobody.has.this" not in logging.getLogger().manager.loggerDict


def test_uninstall_takes_changes_back() -> None:
    logs.install(Settings(log_format="json"), "catalogue")
    levels().apply({"telling": (logging.DEBUG, LATER)})
    logs.uninstall()
    assert logging.getLogger("telling").level == logging.NOTSET


# -- sampling -----------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_of_a_second_are_kept_and_then_one_of_many_with_the_number_of_the_others() -> None:
    clock, left_out = Clock(), list[int]()
    sampler = Sampler(Sampling(3, 10), left_out.append, clock)
    answers = [sampler.admits("shop", "again", logging.INFO) for _ in range(25)]
    assert answers == [0, 0, 0, *[None] * 9, 9, *[None] * 9, 9, None, None]
    clock.now += 1
    assert sampler.admits("shop", "again", logging.INFO) == 2
    assert sum(left_out) == 20


def test_events_levels_and_loggers_are_sampled_by_themselves_and_warnings_not_at_all() -> None:
    sampler = Sampler(Sampling(1, 100), lambda _: None, Clock())
    for logger, event, level in (("a", "x", 20), ("a", "y", 20), ("b", "x", 20), ("a", "x", 10)):
        assert sampler.admits(logger, event, level) == 0
        assert sampler.admits(logger, event, level) is None
    assert [sampler.admits("a", "x", logging.WARNING) for _ in range(5)] == [0] * 5
    asked = Sampler(Sampling(1, 100, logging.WARNING), lambda _: None, Clock())
    assert [asked.admits("a", "x", logging.WARNING) for _ in range(2)] == [0, None]
    assert [asked.admits("a", "x", logging.ERROR) for _ in range(2)] == [0, 0]


def test_no_number_of_different_events_fills_the_memory() -> None:
    sampler = Sampler(Sampling(1, 2), lambda _: None, Clock())
    for number in range(10_000):
        assert sampler.admits("shop", f"event {number}", logging.INFO) == 0
    assert len(sampler._seen) <= 1_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100,50", Sampling(100, 50)),
        ("1, 2, Warning", Sampling(1, 2, 30)),
        ("off", Sampling()),
    ],
)
def test_the_sampling_is_a_setting(text: str, expected: Sampling) -> None:
    assert Settings.read({"OTEL_SEARCH_LOG_SAMPLING": text}).log_sampling == expected


@pytest.mark.parametrize("text", ["100", "0,5", "5,0", "1,2,loud", "1,2,info,3", "many,few"])
def test_a_sampling_that_there_is_not_is_said(text: str) -> None:
    settings = Settings.read({"OTEL_SEARCH_LOG_SAMPLING": text})
    assert settings.log_sampling == Sampling()
    assert settings.faults[0].startswith(f"OTEL_SEARCH_LOG_SAMPLING={text!r} is not accepted, using off; accepted: ")


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    return replace(Settings(), log_sampling=getattr(request, "param", Sampling()))


@pytest.mark.parametrize("settings", [Sampling(2, 5)], indirect=True)
def test_messages_are_sampled_by_their_template_and_the_rest_is_on_no_output(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    for number in range(12):
        logging.getLogger("std").info("item %d", number)
        logging.getLogger("std").warning("careful %d", number)
    lines = chain.lines()
    kept = [(line["event"], line.get("sampled")) for line in lines if line["level"] == "info"]
    assert kept == [("item 0", None), ("item 1", None), ("item 6", 4), ("item 11", 4)]
    assert len([line for line in lines if line["level"] == "warning"]) == 12
    assert len(chain.records()) == len(lines)
