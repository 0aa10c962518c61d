"""Routers, mounts and root paths: the same answers as without telemetry, and full route templates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from websockets.sync.client import connect

from tests import seen
from tests.service import Service, eventually, serve

OURS = {"x-request-id", "x-process-time", "x-trace-id"}
PREFLIGHT = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
FOREIGN_PREFLIGHT = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
FROM_BROWSER = {"Origin": "https://shop.example"}

REQUESTS = [
    # method, path, headers, route
    ("GET", "/v1/items/1", FROM_BROWSER, "/v1/items/{item}"),
    ("GET", "/v1/items/2", {}, "/v1/items/{item}"),
    ("GET", "/v1/items/1/sync", {}, "/v1/items/{item}/sync"),
    ("GET", "/v1/items/1/reviews/2", {}, "/v1/items/{item}/reviews/{number}"),
    ("GET", "/v1/items/1/reviews/none", {}, "/v1/items/{item}/reviews/{number}"),
    ("POST", "/v1/items/1", FROM_BROWSER, "/v1/items/{item}"),
    ("HEAD", "/v1/items/1", {}, "/v1/items/{item}"),
    ("OPTIONS", "/v1/items/1", {}, "/v1/items/{item}"),
    ("OPTIONS", "/v1/items/1", PREFLIGHT, None),
    ("OPTIONS", "/v1/items/1", FOREIGN_PREFLIGHT, None),
    ("OPTIONS", "/v1/nothing", PREFLIGHT, None),
    ("GET", "/v1/nothing", FROM_BROWSER, None),
    ("GET", "/v1/items", {}, None),
    ("GET", "/nothing", {}, None),
    ("PROPFIND", "/v1/items/1", {}, "/v1/items/{item}"),
    ("GET", "/slash", {}, "/slash/"),
    ("GET", "/openapi.json", {}, "/openapi.json"),
    ("GET", "/api/v1/c1/list/7", {}, "/api/v1/c1/list/{item}"),
    ("GET", "/api/v1/c2/list/8", {}, "/api/v1/c2/list/{item}"),
    ("POST", "/api/v1/c2/list/8", {}, "/api/v1/c2/list/{item}"),
    ("GET", "/api/v1/deep/leaf/9", {}, "/api/v1/deep/leaf/{item}"),
    ("GET", "/api/v1/nothing", {}, "/api/v1/{path}"),
    ("GET", "/static/basic.py", {}, "/static/{path}"),
    ("GET", "/static/nothing.py", {}, "/static/{path}"),
    ("GET", "/plain/thing/4", {}, "/plain/{path}"),
]

# Contrib asks for the route before the middleware has run, and looks into a plain Starlette application.
OF_CONTRIB = {
    "OPTIONS /v1/items/1": "/v1/items/{item}",
    "GET /slash": None,
    "GET /plain/thing/4": "/plain/thing/{item}",
}


@dataclass
class Pair:
    """The same application with and without telemetry."""

    service: Service
    bare: Service
    prefix: str
    sent: str
    """What stands before the paths that a client sends; the server adds its own root path itself."""

    def request(self, method: str, path: str, headers: dict[str, str]) -> tuple[httpx.Response, httpx.Response]:
        mine, bare = (
            httpx.request(method, one.url + self.sent + path, headers=headers) for one in (self.service, self.bare)
        )
        return mine, bare


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(([], "", "", ""), id="at the root"),
        pytest.param((["--root-path", "/svc"], "", "/svc", ""), id="server knows the root path"),
        pytest.param(([], "/svc", "/svc", "/svc"), id="application knows the root path"),
    ],
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    arguments, root_path, prefix, sent = request.param
    env = {"APP_ROOT_PATH": root_path}
    with (
        serve("routes:app", *arguments, env=env) as service,
        serve("routes:app", *arguments, env=env, launcher=False) as bare,
    ):
        yield Pair(service, bare, prefix, sent)


def test_every_answer_is_the_bare_applications_and_every_route_the_full_template(pair: Pair) -> None:
    service = pair.service
    answers = [pair.request(method, path, headers) for method, path, headers, _ in REQUESTS]
    expected: dict[tuple[str, str | None, int], int] = {}
    for (method, path, _, route), (response, bare) in zip(REQUESTS, answers, strict=True):
        case = f"{method} {path}"
        assert response.status_code == bare.status_code, case
        assert response.content == bare.content, case
        assert visible(response) == visible(bare), case
        assert set(response.headers) >= OURS, case

        if not seen.NATIVE:
            route = OF_CONTRIB.get(case, route)  # noqa: PLW2901
        template = None if route is None else pair.prefix + route
        span = seen.server_span(service, response)
        line = seen.access_line(service, response)
        known = "HTTP" if method == "PROPFIND" else method
        assert span.attributes.get("http.route") == template, case
        assert line.get("http.route") == template, case
        assert span.name == (known if template is None else f"{known} {template}"), case
        assert span.attributes["http.response.status_code"] == line["http.response.status_code"] == response.status_code
        assert span.status == "UNSET"
        key = ("_OTHER" if method == "PROPFIND" else method, template, response.status_code)
        expected[key] = expected.get(key, 0) + 1

    def counted() -> dict[tuple[str, str | None, int], int]:
        return {
            (
                point.attributes["http.request.method"],
                point.attributes.get("http.route"),
                point.attributes["http.response.status_code"],
            ): point.count
            for point in seen.points(service)
        }

    eventually(lambda: sum(counted().values()) >= len(REQUESTS))
    assert counted() == expected


def visible(response: httpx.Response) -> dict[str, str]:
    """The headers that telemetry must not touch, without those that differ from one server or moment to another."""
    own = OURS | {"date", "location", "last-modified", "etag"}
    return {name: value for name, value in response.headers.items() if name not in own}


def test_the_answers_are_the_expected_ones(pair: Pair) -> None:
    cases = [("GET", "/v1/items/1"), ("GET", "/v1/nothing"), ("POST", "/v1/items/1"), ("HEAD", "/v1/items/1")]
    assert [pair.request(*case, {})[0].status_code for case in cases] == [200, 404, 405, 405]
    found = [("/api/v1/c2/list/8", 200), ("/api/v1/deep/leaf/9", 200), ("/static/basic.py", 200)]
    assert [(path, pair.request("GET", path, {})[0].status_code) for path, _ in found] == found
    preflight, _ = pair.request("OPTIONS", "/v1/items/1", PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"


def test_a_websocket_under_a_router_has_its_full_route(pair: Pair) -> None:
    before = len(pair.service.events(event="websocket completed"))
    with connect(f"ws://127.0.0.1:{pair.service.port}{pair.sent}/v1/items/7/live") as socket:
        assert socket.recv() == "7"
    lines = eventually(lambda: pair.service.events(event="websocket completed")[before:])
    template = f"{pair.prefix}/v1/items/{{item}}/live"
    assert [line["http.route"] for line in lines] == [template]
    span = seen.server_span_of(pair.service, lines[0]["trace_id"])
    assert span.name == f"WS {template}"
    assert span.attributes["http.route"] == template


@pytest.mark.parametrize("pair", [([], "", "", "")], indirect=True, ids=["at the root"])
def test_scanners_make_no_new_series_and_no_new_span_names(pair: Pair) -> None:
    service = pair.service
    baseline = {span.name for span in service.recording.spans}
    with httpx.Client(base_url=service.url) as client:
        for number in range(80):
            client.get(f"/{number}/wp-admin.php")
            client.get(f"/v1/items/scan-{number}")
            client.get(f"/api/v1/none/{number}")
            client.get(f"/v1/items/a%2Fb%2F{number}")
        client.get("/" + "x" * 8000)
        last = client.request("WEIRD", "/v1/items/1")
    seen.server_span(service, last)
    service.recording.wait_for(lambda all_: sum(span.name == "GET /v1/items/{item}" for span in all_.spans) >= 80)
    names = {span.name for span in service.recording.spans}
    assert names - baseline <= {"GET", "HTTP /v1/items/{item}", "GET /v1/items/{item}", "GET /api/v1/{path}"}
    eventually(lambda: seen.count(service, http__route="/v1/items/{item}") >= 80)
    routes = {point.attributes.get("http.route") for point in seen.points(service)}
    assert len(routes) < 25
    assert {point.attributes["http.request.method"] for point in seen.points(service)} <= {
        "GET", "POST", "HEAD", "OPTIONS", "_OTHER",
    }  # fmt: skip


def test_an_unsampled_request_is_counted_and_logged_with_its_route() -> None:
    with serve("routes:app", env={"OTEL_TRACES_SAMPLER": "always_off"}) as service:
        response = service.get("/api/v1/c1/list/7")
        line = seen.access_line(service, response)
        assert line["http.route"] == "/api/v1/c1/list/{item}"
        assert line["trace_id"] == response.headers["x-trace-id"]
        seen.eventually_counted(service, 1, http__route="/api/v1/c1/list/{item}")
        assert service.recording.spans == []


@pytest.mark.parametrize("hot_path", ["lean", "upstream"])
def test_within_an_application_of_another_kind_the_route_begins_with_its_mounts(hot_path: str) -> None:
    with serve("routes:around", "--root-path", "/svc", env={"OTEL_SEARCH_HOT_PATH": hot_path}) as service:
        expected = {
            "/shop/v1/items/1": "/svc/shop/v1/items/{item}",
            "/shop/api/v1/c1/list/7": "/svc/shop/api/v1/c1/list/{item}",
            "/4/in/v1/items/1": "/svc/{tenant}/in/v1/items/{item}",
            "/5/in/v1/items/1": "/svc/{tenant}/in/v1/items/{item}",
            "/shop/nothing": None,
        }
        for path, route in expected.items():
            response = service.get(path)
            assert seen.server_span(service, response).attributes.get("http.route") == route
            assert seen.access_line(service, response).get("http.route") == route
        with connect(f"ws://127.0.0.1:{service.port}/6/in/v1/items/1/live") as socket:
            socket.recv()
        assert service.event(event="websocket completed")["http.route"] == "/svc/{tenant}/in/v1/items/{item}/live"
        seen.eventually_counted(service, 2, http__route="/svc/{tenant}/in/v1/items/{item}")
