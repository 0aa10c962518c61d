"""`/admin/loggers`: levels of a running service, in all its workers, for a while."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service import Service, eventually, free_port, serve

TOKEN = {"authorization": "Bearer let-me-in"}
ENV = {"OTEL_SEARCH_ADMIN_TOKEN": "let-me-in"}
ROUTE = "/admin/loggers"


def put(service: Service, name: str, wish: Any, **headers: str) -> httpx.Response:
    return httpx.put(f"{service.url}{ROUTE}/{name}", json=wish, headers={**TOKEN, **headers}, timeout=30)


def details(service: Service) -> set[int]:
    """The workers that write debug lines; each call asks some workers to."""
    for _ in range(8):
        service.get("/debug")
    return {event["pid"] for event in service.events(event="a detail")}


@pytest.fixture(scope="module")
def service() -> Any:
    with serve("own_logging:app", env=ENV) as running:
        yield running


def test_a_level_is_changed_for_a_while(service: Service) -> None:
    service.get("/debug")
    before = service.get(f"{ROUTE}/shop.search", headers=TOKEN).json()
    assert before == {"logger": "shop.search", "level": None, "effective_level": "info", "until": None}
    changed = put(service, "shop.search", {"level": "debug", "for": 300}).json()
    assert (changed["level"], changed["effective_level"]) == ("debug", "debug")
    assert changed["until"].endswith("+00:00")
    service.get("/debug")
    assert len(eventually(lambda: service.events(event="a detail"))) == 1
    listed = service.get(ROUTE, headers=TOKEN).json()["loggers"]
    assert changed in listed
    assert listed[0]["logger"] == "root"
    assert put(service, "shop.search", {"level": None}).json() == before
    service.get("/debug")
    (line,) = service.events(event="a detail")
    assert line["level"] == "debug"


def test_it_goes_back_by_itself(service: Service) -> None:
    put(service, "goes.back", {"level": "error", "for": 0.5})
    eventually(lambda: service.get(f"{ROUTE}/goes.back", headers=TOKEN).json()["until"] is None)
    assert service.get(f"{ROUTE}/goes.back", headers=TOKEN).json()["level"] is None
    assert eventually(lambda: service.events(event="the level of the logger goes.back is as before"))


@pytest.mark.parametrize(
    ("name", "wish", "said"),
    [
        ("shop", {"level": "debgu"}, "level='debgu' is not accepted; accepted: debug | info | warning | error | critical, or null"),
        ("shop", {"level": 10}, "level='10' is not accepted; accepted: debug"),
        ("shop", {"level": "debug", "for": 0}, "for='0' is not accepted; accepted: seconds, above 0, at most 86400"),
        ("shop", {"level": "debug", "for": "long"}, "for='long' is not accepted"),
        ("shop", {"level": "debug", "for": True}, "for='True' is not accepted"),
        ("shop", {"level": "debug", "during": 3}, "'during' is not accepted; accepted: level, for"),
        ("shop", ["debug"], "the body is not accepted; accepted: JSON such as"),
        ("shop", {"level": "debug", "for": 1, "x": "y" * 5000}, "the body is not accepted; accepted: JSON such as"),
        ("%0ashop", {"level": "debug"}, "logger='\\nshop' is not accepted; accepted: a logger's name, or root"),
        ("a b", {"level": "debug"}, "logger='a b' is not accepted"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_clear_line(service: Service, name: str, wish: Any, said: str) -> None:
    answer = put(service, name, wish)
    assert answer.status_code == 400
    assert said in answer.text
    assert answer.text.count("\n") == 1


def test_nobody_without_the_token_changes_or_sees_anything(service: Service) -> None:
    assert put(service, "shop", {"level": "debug"}, authorization="Bearer guess").status_code == 401
    assert service.get(ROUTE).status_code == 401
    assert service.get(f"{ROUTE}/shop").status_code == 401
    assert httpx.delete(f"{service.url}{ROUTE}/shop", headers=TOKEN).status_code == 405
    with serve("own_logging:app") as open_service:
        assert put(open_service, "shop", {"level": "debug"}).status_code == 404


def test_all_workers_heed_it_and_those_that_come_later() -> None:
    with serve("own_logging:app", "--workers", "2", env=ENV) as service:
        eventually(lambda: len(service.events(event="Application startup complete.")) == 2)
        put(service, "shop.search", {"level": "debug", "for": 300})
        workers = eventually(lambda: found if len(found := details(service)) == 2 else None)
        assert put(service, "shop.search", {"level": None}).json()["until"] is None

        def is_quiet() -> bool:
            count = len(service.events(event="a detail"))
            details(service)
            return len(service.events(event="a detail")) == count

        eventually(is_quiet)
        assert details(service) == workers


def test_the_management_port_takes_it_too() -> None:
    port = free_port()
    with serve("own_logging:app", env={**ENV, "OTEL_SEARCH_MANAGEMENT_PORT": str(port)}) as service:
        url = f"http://127.0.0.1:{port}{ROUTE}/shop.search"
        answer = httpx.put(url, json={"level": "debug"}, headers=TOKEN)
        assert (answer.status_code, answer.json()["level"]) == (200, "debug")
        assert details(service) or eventually(lambda: service.events(event="a detail"))
        assert httpx.put(url, content=b"x" * 5000, headers=TOKEN).status_code == 400
        assert put(service, "shop.search", {"level": "debug"}).status_code == 404
