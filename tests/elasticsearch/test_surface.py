"""Every method of the client's API, found by looking at the client: one call is one CLIENT span with the right name."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import elasticsearch
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from otel_search.elasticsearch.telemetry import Telemetry
from tests.elasticsearch.clients import NATIVE, AsyncElasticsearch, Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import Reply, Request, ScriptedServer

SECRET = "jan@example.org"

# Methods of a client that send no request.
_OTHER = frozenset({"close", "options", "perform_request", "transport", "helpers"})
# What a parameter is given, where a text will not do.
_VALUES: dict[str, Any] = {
    "index": "products",
    "alias": "products",
    "query": {"match": {"mail": SECRET}},
    "document": {"mail": SECRET},
    "doc": {"mail": SECRET},
    "operations": [{"index": {"_index": "products"}}, {"mail": SECRET}],
    "searches": [{"index": "products"}, {"query": {"term": {"mail": SECRET}}}],
    "search_templates": [{"index": "products"}, {"id": "t", "params": {"mail": SECRET}}],
    "body": {"mail": SECRET},
    "source": {"index": "products", "query": {"term": {"mail": SECRET}}},
    "dest": {"index": "copies"},
    "settings": {"a": 1},
    "mappings": {},
    "script": {"source": SECRET, "params": {"mail": SECRET}},
    "actions": [{"add": {"index": "products", "alias": "a"}}],
    "size": 10,
    "field": "mail",
    "fields": ["mail"],
    "max_results": 1,
}
_LANGUAGES = {
    "esql": f'FROM products | WHERE mail == "{SECRET}"',
    "sql": f"SELECT a FROM products WHERE b = '{SECRET}'",
}
_LANGUAGES["eql"] = f'any where mail == "{SECRET}"'


def api_of(client: Any) -> Iterator[tuple[str, Any]]:
    """The methods of the client and its namespaces: name and function."""
    for name, value in sorted(inspect.getmembers(type(client))):
        if name.startswith("_") or name in _OTHER:
            continue
        if inspect.isfunction(value):
            yield name, value
    for namespace, value in sorted(vars(client).items()):
        if namespace.startswith("_"):
            continue
        for name, method in sorted(inspect.getmembers(type(value), inspect.isfunction)):
            if not name.startswith("_") and name not in _OTHER:
                yield f"{namespace}.{name}", method


def arguments_of(name: str, method: Any) -> dict[str, Any]:
    """Arguments with which the method sends its request: all that it requires, and a query if it takes one."""
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(method).parameters.values():
        required = parameter.default is inspect.Parameter.empty
        wanted = parameter.name in {"query", "index"} and name.partition(".")[0] != "cat"
        if parameter.name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD or not (required or wanted):
            continue
        if parameter.name == "query" and name.partition(".")[0] in _LANGUAGES:
            arguments["query"] = _LANGUAGES[name.partition(".")[0]]
        elif parameter.name == "name" and "data_stream" in name:
            # A data stream is a collection, as an index is.
            arguments["name"] = "products"
        else:
            arguments[parameter.name] = _VALUES.get(parameter.name, SECRET)
    return arguments


_SYNC = elasticsearch.Elasticsearch("http://127.0.0.1:1")
METHODS = dict(api_of(_SYNC))
_SYNC.close()


def complete(name: str, caller: Caller) -> None:
    """Call the method, with what its own message says is missing."""
    arguments = arguments_of(name, METHODS[name])
    for _ in range(6):
        try:
            return caller(lambda client: _method(client, name)(**arguments))
        except ValueError as error:
            # "Empty value passed for parameter 'x'", "Couldn't find a path for the given parameters"
            missing = _missing(str(error), METHODS[name], arguments)
            if missing is None:
                raise
            arguments[missing] = _VALUES.get(missing, SECRET)
        except TypeError:
            if "body" not in inspect.signature(METHODS[name]).parameters or "body" in arguments:
                raise
            arguments["body"] = _VALUES["body"]
    return None


def _missing(message: str, method: Any, arguments: dict[str, Any]) -> str | None:
    named = re.findall(r"'(\w+)'", message)
    candidates = [*named, "name", "id", "node_id", "index", "body"]
    parameters = inspect.signature(method).parameters
    return next((name for name in candidates if name in parameters and name not in arguments), None)


def _method(client: Any, name: str) -> Any:
    for part in name.split("."):
        client = getattr(client, part)
    return client


@pytest.fixture(scope="module")
def plain_server() -> Iterator[ScriptedServer]:
    def answer(request: Request) -> Reply:
        return Reply({"mail": SECRET}, headers={"X-Request": request.method})

    running = ScriptedServer(answer)
    yield running
    running.close()


@pytest.fixture(scope="module")
def everything() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded


@pytest.fixture(scope="module")
def callers(plain_server: ScriptedServer) -> Iterator[dict[str, Caller]]:
    kinds = ["sync"] + (["async"] if AsyncElasticsearch is not None else [])
    opened = {kind: Caller(kind, plain_server.url) for kind in kinds}
    yield opened
    for caller in opened.values():
        caller.close()


# Clients warn about what is experimental or deprecated on the server's side.
@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_one_client_span(
    everything: Recorded, callers: dict[str, Caller], plain_server: ScriptedServer, kind: str, name: str
) -> None:
    everything.exporter.clear()
    plain_server.requests.clear()
    complete(name, callers[kind])
    (request,) = plain_server.requests
    span = everything.span
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events
    attributes = dict(span.attributes)
    operation = attributes["db.operation.name"]
    # Methods of this name in a namespace belong to the namespace, with one exception each in some versions.
    assert (
        operation.replace("_", "") == name.replace("_", "") or operation.rpartition(".")[2] == name.rpartition(".")[2]
    )
    collection = attributes.get("db.collection.name")
    assert span.name == (f"{operation} {collection}" if collection else operation)
    if request.target.startswith("/products/") or request.target in {"/products", "/products?"}:
        assert collection == "products"
    assert attributes["db.system.name"] == "elasticsearch"
    assert attributes["server.port"] == plain_server.port
    assert attributes["db.response.status_code"] == "200"
    assert attributes["http.request.method"] == request.method
    assert attributes["url.full"].startswith(plain_server.url)
    if "db.query.text" in attributes:
        json.loads(attributes["db.query.text"])
    recorded = span.to_json()
    assert SECRET not in recorded
    assert "%40example" not in recorded
    assert "jan" not in recorded


def test_the_surface_is_the_whole_api() -> None:
    assert len(METHODS) > 350
    assert {"search", "bulk", "indices.create", "cluster.health", "sql.query"} <= set(METHODS)


@pytest.mark.skipif(not NATIVE, reason="endpoints are named by clients from 8.13 on")
def test_endpoints_named_in_this_package_exist_in_the_client() -> None:
    from otel_search.elasticsearch.reply import SEARCHES
    from otel_search.elasticsearch.request import QUERY_BODIES

    source = Path(inspect.getfile(elasticsearch._sync.client)).parent.glob("*.py")
    known = set(re.findall(r'endpoint_id="([\w.]+)"', "\n".join(path.read_text() for path in source)))
    # Left the client in 9.0, and served in 8.
    gone = {"knn_search", "rollup.rollup_search", "esql.async_query", "graph.explore"}
    assert (SEARCHES | set(QUERY_BODIES)) - known <= gone
    assert Telemetry
