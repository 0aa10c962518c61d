"""Fixtures: what was recorded, a scripted server, and the in-memory engine with clients of both kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("elasticsearch", reason="no Elasticsearch client is installed")

import elastic_transport

from tests.elasticsearch.clients import AsyncElasticsearch, Caller, for_memory_engine
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as record:
        yield record


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "async" and AsyncElasticsearch is None:
        pytest.skip("aiohttp is not installed")
    return request.param


@pytest.fixture
def connect(kind: str) -> Iterator[Callable[..., Caller]]:
    """Opens clients of the kind under test and closes them."""
    opened: list[Caller] = []

    def open_client(hosts: Any, **options: Any) -> Caller:
        opened.append(Caller(kind, hosts, **options))
        return opened[-1]

    yield open_client
    for caller in opened:
        caller.close()


@pytest.fixture
def scripted(server: ScriptedServer, connect: Callable[..., Caller]) -> Caller:
    """A client of the scripted server."""
    return connect(server.url)


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    osmem = pytest.importorskip("osmem_server", reason="the in-memory engine is not installed")
    server = osmem.OsmemServer.start()
    yield server.url
    server.close()


@pytest.fixture
def engine(engine_url: str, kind: str, connect: Callable[..., Caller]) -> Caller:
    """A client of the in-memory engine, with an empty index `products`."""
    node = elastic_transport.Urllib3HttpNode if kind == "sync" else elastic_transport.AiohttpHttpNode
    caller = connect(engine_url, node_class=for_memory_engine(node))
    caller(lambda client: client.options(ignore_status=404).indices.delete(index="products"))
    caller(
        lambda client: client.indices.create(index="products", mappings={"properties": {"price": {"type": "integer"}}})
    )
    return caller
