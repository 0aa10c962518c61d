"""Reading metrics brings on no garbage collections, and leaves them as the application has them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

from otel_search.metrics import Metrics, snapshot
from otel_search.metrics.garbage import collected, uncollected


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generation of each collection that begins."""
    begun: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            begun.append(info["generation"])

    gc.callbacks.append(note)
    yield begun
    gc.callbacks.remove(note)


def much() -> list[list[int]]:
    """More objects than a collection waits for."""
    return [[number] for number in range(10 * gc.get_threshold()[0])]


def test_none_begins_within_and_they_go_on_afterwards(collections: list[int]) -> None:
    gc.collect()
    collections.clear()
    with uncollected():
        much()
        assert collections == []
    assert gc.isenabled()
    much()
    assert collections


def test_an_application_that_has_switched_them_off_keeps_that() -> None:
    gc.disable()
    try:
        with uncollected():
            assert not gc.isenabled()
            with collected():
                assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_and_several_threads_leave_them_on() -> None:
    begun, end = threading.Barrier(2), threading.Event()

    def other() -> None:
        with uncollected():
            begun.wait(10)
            end.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(10)
    with pytest.raises(ZeroDivisionError), uncollected():
        raise ZeroDivisionError
    assert not gc.isenabled(), "the other one is still reading"
    end.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_is_forked_meanwhile_has_them() -> None:
    with uncollected():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_scrape_brings_on_none_and_the_callbacks_of_the_application_may_have_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []

    def observe(_: CallbackOptions) -> list[Observation]:
        seen.append(gc.isenabled())
        return []

    provider = MeterProvider(shutdown_on_exit=False)
    meter = provider.get_meter("test")
    meter.create_observable_gauge("cups", [observe])
    counter = meter.create_counter("requests")
    monkeypatch.setattr(snapshot.metrics, "get_meter_provider", lambda: provider)
    told = Metrics()
    told.begin()
    for number in range(500):
        counter.add(1, {"route": str(number)})
    told.text("", "")
    taken: list[str] = []
    of_family = snapshot.Reading._family

    def family(self: Any, metric: Any, *more: Any) -> Any:
        assert not gc.isenabled()
        taken.append(metric.name)
        return of_family(self, metric, *more)

    monkeypatch.setattr(snapshot.Reading, "_family", family)
    body, _, _ = told.text("", "")
    assert body.count(b"requests_total{") == 500
    assert "requests" in taken
    assert seen == [True, True]
    assert gc.isenabled()
