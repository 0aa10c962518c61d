"""Ids and bound values: on every line of their request, wherever it is written, and on no other's."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import seen
from tests.service import Service, eventually, serve

PLACES = {"route", "to_thread", "run_in_executor", "pool", "thread", "task", "background"}
DEPENDENCIES = {"async_dependency", "sync_dependency", "sync_generator"}
BOUND = DEPENDENCIES | {"route"}


@pytest.fixture(scope="module", params=["app", "layered"], ids=["no middleware", "function-style middleware"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with serve(f"bound:{request.param}") as running:
        running.is_layered = request.param == "layered"  # type: ignore[attr-defined]
        yield running


def bound(service: Service) -> set[str]:
    return BOUND | ({"middleware"} if service.is_layered else set())  # type: ignore[attr-defined]


def values(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line.get(name) for name in (*BOUND, "middleware", "gone") if name in line}


def ask(service: Service, path: str, users: list[str]) -> dict[str, httpx.Response]:
    async def all_at_once() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(users))
        async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(client.get(path, headers={"X-User": user}) for user in users))

    return dict(zip(users, asyncio.run(all_at_once()), strict=True))


def test_every_line_of_a_request_has_its_ids_and_values_and_no_others(service: Service) -> None:
    users = [f"user-{number}" for number in range(200)]
    answers = ask(service, "/async", users)
    assert {user: answer.json() for user, answer in answers.items()} == {user: user for user in users}
    expected = PLACES | ({"middleware"} if service.is_layered else set())  # type: ignore[attr-defined]
    expected |= {f"{place} (logging)" for place in expected}

    def lines() -> dict[str, list[dict[str, Any]]]:
        by_request = defaultdict(list)
        for line in service.events(event="said"):
            by_request[line.get("request_id")].append(line)
        return by_request

    eventually(lambda: sum(map(len, lines().values())) >= len(users) * len(expected))
    by_request = lines()
    assert None not in by_request
    for user, answer in answers.items():
        own = by_request.pop(answer.headers["x-request-id"])
        assert {line["place"] for line in own} == expected
        assert len(own) == len(expected)
        for line in own:
            assert line["trace_id"] == answer.headers["x-trace-id"]
            if line["place"].startswith("middleware"):
                assert values(line) == {"middleware": user}
            else:
                assert values(line) == dict.fromkeys(bound(service), user), line["place"]
    assert not by_request
    # The same in what was exported.
    eventually(lambda: len(seen.records(service, body="said")) >= len(users) * len(expected))
    for record in seen.records(service, body="said"):
        user = record.attributes.get("middleware") or record.attributes["route"]
        assert record.trace_id == answers[user].headers["x-trace-id"]


@pytest.mark.parametrize("path", ["/async", "/sync", "/refused", "/boom"])
def test_bound_values_are_in_the_access_line(service: Service, path: str) -> None:
    for user, response in ask(service, path, [f"{path}-{number}" for number in range(10)]).items():
        assert values(seen.access_line(service, response)) == dict.fromkeys(bound(service), user)
        if path == "/boom":
            said = service.event(event="unhandled exception", request_id=response.headers["x-request-id"])
            assert values(said) == dict.fromkeys(bound(service), user)


def test_a_sync_route_binds_on_top_of_its_dependencies(service: Service) -> None:
    ((user, response),) = ask(service, "/sync", ["someone"]).items()
    line = service.event(place="sync route", request_id=response.headers["x-request-id"])
    assert values(line) == dict.fromkeys(bound(service), user)


def test_the_next_request_on_the_same_connection_starts_with_nothing(service: Service) -> None:
    with httpx.Client(base_url=service.url) as client:
        client.get("/async", headers={"X-User": "before"})
        response = client.get("/nothing")
    assert response.status_code == 200
    lines = service.events(at_least=4, event="said", request_id=response.headers["x-request-id"])
    assert {line["place"] for line in lines} >= {"nothing", "nothing in pool"}
    for line in [*lines, seen.access_line(service, response)]:
        assert {name: value for name, value in values(line).items() if value is not None} == {}
