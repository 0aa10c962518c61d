"""What happens on the way: dead nodes, retries, timeouts, cancellation, sniffing, and the pools beneath."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from typing import Any

import elastic_transport
import pytest
from opentelemetry.trace import StatusCode

from otel_search.elasticsearch.pools import Pools
from tests.elasticsearch.clients import Caller
from tests.elasticsearch.recorded import Recorded
from tests.elasticsearch.scripted import Reply, ScriptedServer


@pytest.fixture
def refusing() -> str:
    """The URL of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def blackhole() -> Iterator[str]:
    """The URL of a node that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        accepted: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    accepted.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in accepted:
            connection.close()


def search(caller: Caller) -> Any:
    return caller(lambda client: client.search(index="products"))


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_a_status_that_is_retried_is_an_event_and_a_metric(recorded: Recorded, server: ScriptedServer, connect) -> None:
    server.reply({}, 503)
    server.reply({}, 429)
    server.reply({"took": 1})
    search(connect(server.url, max_retries=3, retry_on_status=(429, 503)))
    span = recorded.span
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["search.retries"] == 2
    assert span.attributes["db.response.status_code"] == "200"
    assert [event.name for event in span.events] == ["search.retry"] * 2
    assert [event.attributes["search.retry.reason"] for event in span.events] == ["503", "429"]
    assert [event.attributes["search.retry.attempt"] for event in span.events] == [1, 2]
    assert {event.attributes["server.port"] for event in span.events} == {server.port}
    assert all(event.attributes["search.retry.delay"] >= 0 for event in span.events)
    points = {
        attributes["search.retry.reason"]: point.value for attributes, point in recorded.points("search.client.retries")
    }
    assert points == {"503": 1, "429": 1}
    ((_, point),) = recorded.points("db.client.operation.duration")
    assert point.count == 1
    # All attempts belong to one call.
    assert len({request.headers["traceparent"] for request in server.requests}) == 1


def test_the_span_names_the_node_that_answered(
    recorded: Recorded, server: ScriptedServer, refusing: str, connect
) -> None:
    caller = connect([refusing, server.url], max_retries=3, randomize_nodes_in_pool=False)
    for _ in range(4):
        search(caller)
    assert {span.attributes["server.port"] for span in recorded.spans} == {server.port}
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}
    retried = [span for span in recorded.spans if span.events]
    assert len(retried) == 1
    event = retried[0].events[0]
    assert event.attributes["server.port"] == port(refusing)
    assert event.attributes["search.retry.reason"] == "ConnectionError"
    ((attributes, point),) = recorded.points("search.client.retries")
    assert attributes == {
        "db.operation.name": "search",
        "search.retry.reason": "ConnectionError",
        "server.address": "127.0.0.1",
        "server.port": port(refusing),
    }
    assert point.value == 1


def test_a_node_that_never_answers_shows_in_the_duration(
    recorded: Recorded, server: ScriptedServer, blackhole: str, connect
) -> None:
    caller = connect(
        [blackhole, server.url],
        randomize_nodes_in_pool=False,
        max_retries=3,
        retry_on_timeout=True,
        request_timeout=0.2,
    )
    for _ in range(3):
        search(caller)
    (retried,) = [span for span in recorded.spans if span.events]
    assert retried.events[0].attributes["search.retry.reason"] == "ConnectionTimeout"
    assert (retried.end_time - retried.start_time) / 1e9 >= 0.2
    assert retried.attributes["server.port"] == server.port


def test_a_timeout_is_an_error_of_its_own(recorded: Recorded, blackhole: str, connect) -> None:
    caller = connect(blackhole, max_retries=1, request_timeout=0.1)
    with pytest.raises(elastic_transport.ConnectionTimeout):
        search(caller)
    assert recorded.span.attributes["error.type"] == "ConnectionTimeout"
    assert "db.response.status_code" not in recorded.span.attributes
    ((attributes, _),) = recorded.points("search.client.searches")
    assert attributes["search.outcome"] == "error"


def test_all_nodes_dead_is_one_failed_span_with_its_attempts(recorded: Recorded, refusing: str, connect) -> None:
    caller = connect(refusing, max_retries=2)
    with pytest.raises(elastic_transport.ConnectionError):
        search(caller)
    span = recorded.span
    assert span.attributes["error.type"] == "ConnectionError"
    assert span.attributes["search.retries"] == 2
    assert len(span.events) == 2
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("kind", ["async"], indirect=True)
def test_a_cancelled_call_is_an_error_of_its_own(recorded: Recorded, blackhole: str, connect) -> None:
    caller = connect(blackhole)

    async def run(client: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.search(index="products")

    caller(run)
    assert recorded.span.attributes["error.type"] == "CancelledError"
    assert recorded.span.status.status_code is StatusCode.ERROR


def test_a_server_that_is_not_elasticsearch_is_an_error(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    import elasticsearch

    server.reply({}, headers={"X-Elastic-Product": "somebody else"})
    with pytest.raises(elasticsearch.UnsupportedProductError):
        search(scripted)
    assert recorded.span.attributes["error.type"] == "UnsupportedProductError"


def test_ignored_statuses_are_no_errors(recorded: Recorded, server: ScriptedServer, scripted: Caller) -> None:
    import elasticsearch

    missing = {"error": {"type": "index_not_found_exception", "reason": "x"}, "status": 404}
    server.reply(missing, 404)
    server.reply(missing, 404)
    server.reply({"error": {"type": "resource_not_found_exception"}, "status": 404}, 404)
    scripted(lambda client: client.options(ignore_status=404).indices.delete(index="products"))
    scripted(lambda client: client.indices.exists(index="products"))
    with pytest.raises(elasticsearch.NotFoundError):
        scripted(lambda client: client.get_source(index="products", id="1"))
    assert [span.attributes["db.response.status_code"] for span in recorded.spans] == ["404"] * 3
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}


@pytest.mark.parametrize("kind", ["sync"], indirect=True)
def test_sniffing_in_the_middle_of_a_call_is_an_event_of_it(
    recorded: Recorded, server: ScriptedServer, connect
) -> None:
    nodes = {"nodes": {"a": {"http": {"publish_address": f"127.0.0.1:{server.port}"}}}}
    caller = connect(server.url, sniff_before_requests=True, min_delay_between_sniffing=0)
    server.reply(nodes)
    search(caller)
    span = recorded.span
    assert [(event.name, dict(event.attributes)) for event in span.events] == [
        ("search.sniff", {"search.sniff.nodes": 1})
    ]
    assert [request.target for request in server.requests] == ["/_nodes/_all/http", "/products/_search"]
    assert "search.retries" not in span.attributes
    assert recorded.points("search.client.retries") == []


@pytest.mark.parametrize("kind", ["async"], indirect=True)
def test_sniffing_beside_a_call_is_neither_a_call_nor_an_attempt(
    recorded: Recorded, server: ScriptedServer, connect
) -> None:
    def answer(request: Any) -> Reply:
        nodes = {"a": {"http": {"publish_address": f"127.0.0.1:{server.port}"}}}
        return Reply({"nodes": nodes} if request.target.startswith("/_nodes") else {})

    server.default = answer
    caller = connect(server.url, sniff_before_requests=True, min_delay_between_sniffing=0)

    async def run(client: Any) -> None:
        await client.search(index="products")
        await client.transport._sniffing_task

    caller(run)
    assert sorted(request.target for request in server.requests) == ["/_nodes/_all/http", "/products/_search"]
    assert recorded.span.name == "search products"
    assert "search.retries" not in recorded.span.attributes
    assert recorded.points("search.client.retries") == []


def test_a_node_class_of_the_applications_own_is_seen_once_per_attempt(
    recorded: Recorded, server: ScriptedServer, connect, kind: str
) -> None:
    base = elastic_transport.Urllib3HttpNode if kind == "sync" else elastic_transport.AiohttpHttpNode

    if kind == "sync":

        class Mine(base):
            def perform_request(self, *args: Any, **kwargs: Any) -> Any:
                return super().perform_request(*args, **kwargs)

    else:

        class Mine(base):
            async def perform_request(self, *args: Any, **kwargs: Any) -> Any:
                return await super().perform_request(*args, **kwargs)

    server.reply({}, 503)
    search(connect(server.url))  # the base class is hooked as well
    recorded.exporter.clear()
    server.reply({}, 503)
    search(connect(server.url, node_class=Mine, retry_on_status=(503,)))
    assert recorded.span.attributes["search.retries"] == 1
    assert len(recorded.span.events) == 1


@pytest.mark.parametrize("name", ["urllib3", "requests", "aiohttp", "httpxasync", "httpx"])
def test_connections_of_every_http_node_are_counted(
    recorded: Recorded, server: ScriptedServer, connect, kind: str, name: str
) -> None:
    from elastic_transport._transport import NODE_CLASS_NAMES

    if (name in {"aiohttp", "httpxasync"}) != (kind == "async"):
        pytest.skip(f"{name} is not {kind}")
    if name not in NODE_CLASS_NAMES:
        pytest.skip(f"this elastic_transport has no {name} node")
    try:
        caller = connect(server.url, node_class=name)
    except ValueError as error:
        pytest.skip(str(error))
    search(caller)
    pool = f"127.0.0.1:{server.port}"
    assert connections(recorded) == {(pool, "idle"): 1, (pool, "used"): 0}
    during: list[dict[tuple[str, str], int]] = []

    def look(request: Any) -> Any:
        during.append(connections(recorded))
        return Reply()

    server.default = look
    search(caller)
    assert during == [{(pool, "idle"): 0, (pool, "used"): 1}]
    assert nodes(recorded) == {"alive": 1, "dead": 0}


def connections(recorded: Recorded) -> dict[tuple[str, str], int]:
    return {
        (attributes["db.client.connection.pool.name"], attributes["db.client.connection.state"]): point.value
        for attributes, point in recorded.points("db.client.connection.count")
    }


def nodes(recorded: Recorded) -> dict[str, int]:
    return {
        attributes["search.node.state"]: point.value for attributes, point in recorded.points("search.client.nodes")
    }


def test_dead_nodes_are_counted_until_they_answer_again(
    recorded: Recorded, server: ScriptedServer, refusing: str, connect
) -> None:
    caller = connect([refusing, server.url], randomize_nodes_in_pool=False, max_retries=2)
    for _ in range(2):
        search(caller)
    assert nodes(recorded) == {"alive": 1, "dead": 1}


def test_pools_of_clients_that_are_gone_are_forgotten(server: ScriptedServer) -> None:
    from elasticsearch import Elasticsearch

    pools = Pools()
    client = Elasticsearch(server.url)
    pools.add(client.transport)
    assert pools.nodes() == {"alive": 1, "dead": 0}
    client.close()
    del client
    gc.collect()
    assert pools.nodes() == {"alive": 0, "dead": 0}
    assert pools.connections() == {}


def test_the_number_of_nodes_in_metrics_is_bounded(
    recorded: Recorded, server: ScriptedServer, scripted: Caller
) -> None:
    from otel_search.elasticsearch.bounded import Bounded

    bounded = Bounded(2)
    assert [bounded(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", "_other", "a", "_other"]


def test_retries_are_one_line_of_ours_and_none_of_the_transports(
    recorded: Recorded, server: ScriptedServer, connect, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply({}, 503)
    search(connect(server.url, retry_on_status=(503,)))
    assert [record.name for record in caplog.records] == ["otel_search.elasticsearch"]
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.records[0].otel_search_fields["search.retries"] == 1
