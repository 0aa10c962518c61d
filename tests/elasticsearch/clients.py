"""Clients of both kinds, called alike, and the node classes that speak to the in-memory engine."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import elastic_transport
from elasticsearch import Elasticsearch

VERSION = tuple(int(part) for part in version("elasticsearch").split(".")[:2])
NATIVE = VERSION >= (8, 13)

try:
    import aiohttp  # noqa: F401
    from elasticsearch import AsyncElasticsearch
except ImportError:
    AsyncElasticsearch = None


def for_memory_engine(node_class: type[Any]) -> type[Any]:
    """A node class that asks for plain JSON, because the in-memory engine knows no vendor media types."""

    def plain(headers: Any, body: Any) -> tuple[Any, Any]:
        changed = elastic_transport.HttpHeaders(headers or {})
        for name in ("accept", "content-type"):
            if "vnd.elasticsearch+" in changed.get(name, ""):
                changed[name] = changed[name].replace("vnd.elasticsearch+", "").partition(";")[0]
        if body and b'"exclude_vectors"' in body:
            decoded = json.loads(body)
            decoded.pop("_source", None)
            body = json.dumps(decoded).encode()
        return changed, body

    if asyncio.iscoroutinefunction(node_class.perform_request):

        class AsyncNode(node_class):
            async def perform_request(
                self, method: str, target: str, body: Any = None, headers: Any = None, **more: Any
            ) -> Any:
                headers, body = plain(headers, body)
                return await super().perform_request(method, target, body=body, headers=headers, **more)

        return AsyncNode

    class Node(node_class):
        def perform_request(self, method: str, target: str, body: Any = None, headers: Any = None, **more: Any) -> Any:
            headers, body = plain(headers, body)
            return super().perform_request(method, target, body=body, headers=headers, **more)

    return Node


class Caller:
    """A client of one kind whose calls a test writes once: `caller(lambda client: client.search(...))`."""

    def __init__(self, kind: str, hosts: Any, **options: Any) -> None:
        self.kind = kind
        self._hosts = hosts
        self._options = options
        self._runner = asyncio.Runner() if kind == "async" else None
        if self._runner is None:
            self.client = Elasticsearch(hosts, **options)
        else:
            self.client = self._runner.run(self._open())

    async def _open(self) -> Any:
        return AsyncElasticsearch(self._hosts, **self._options)

    def __call__(self, call: Callable[[Any], Any]) -> Any:
        if self._runner is None:
            return call(self.client)

        async def run() -> Any:
            return await call(self.client)

        return self._runner.run(run(), context=contextvars.copy_context())

    def close(self) -> None:
        if self._runner is None:
            self.client.close()
        else:
            self._runner.run(self.client.close())
            self._runner.close()
