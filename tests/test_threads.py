from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_search import threads
from otel_search.context import REQUEST_ID


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    threads.install()
    yield
    threads.uninstall()


@pytest.fixture
def in_request() -> Iterator[None]:
    token = REQUEST_ID.set("the-request")
    yield
    REQUEST_ID.reset(token)


def in_thread(make: type[threading.Thread] = threading.Thread) -> str | None:
    found: list[str | None] = []
    thread = (
        threading.Timer(0, lambda: found.append(REQUEST_ID.get()))
        if make is threading.Timer
        else make(target=lambda: found.append(REQUEST_ID.get()))
    )
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("make", [threading.Thread, threading.Timer])
def test_a_thread_belongs_to_the_request_that_starts_it(make: type[threading.Thread], in_request: None) -> None:
    assert in_thread(make) == "the-request"


def test_a_thread_with_a_run_of_its_own_too(in_request: None) -> None:
    found = []

    class Mine(threading.Thread):
        def run(self) -> None:
            found.append(REQUEST_ID.get())

    thread = Mine()
    thread.start()
    thread.join()
    assert found == ["the-request"]


def test_a_thread_that_no_request_starts_has_none() -> None:
    assert in_thread() is None


def test_work_in_a_pool_belongs_to_who_submits_it_and_the_pools_threads_to_nobody() -> None:
    with ThreadPoolExecutor(1) as pool:
        token = REQUEST_ID.set("first")  # the pool's only thread starts in here
        assert pool.submit(REQUEST_ID.get).result() == "first"
        REQUEST_ID.set("second")
        assert pool.submit(REQUEST_ID.get).result() == "second"
        REQUEST_ID.reset(token)
        assert pool.submit(REQUEST_ID.get).result() is None


def test_arguments_results_and_exceptions_pass() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(divmod, 7, 2).result() == (3, 1)
        assert pool.submit(dict, a=1).result() == {"a": 1}
        assert list(pool.map(str, [1, 2])) == ["1", "2"]
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()


def test_uninstalled_nothing_is_left(in_request: None) -> None:
    threads.uninstall()
    assert in_thread() is None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(REQUEST_ID.get).result() is None
    assert not hasattr(threading.Thread.start, "__wrapped__")
    assert not hasattr(ThreadPoolExecutor.submit, "__wrapped__")
