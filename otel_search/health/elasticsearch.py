"""Elasticsearch's health, asked beside the application's clients.

The client's own connections may all be waiting for searches, and an asynchronous client belongs to
its event loop. So each node is asked through a connection of our own, made from the node's own
configuration and with the client's own headers: the same certificates and the same credentials.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from otel_search.health import clients
from otel_search.health.check import HealthResult, Status
from otel_search.health.watermarks import Watermarks

_MAX_NODES = 3
_MAX_CLUSTERS = 8
_OWN_NODES = {"AiohttpHttpNode", "HttpxAsyncHttpNode", "Urllib3HttpNode", "RequestsHttpNode"}

Answer = tuple[int, bytes]
Ask = Callable[[str, str, float], Answer]


class Cluster:
    """One cluster, whose nodes are asked in turn.

    Args:
        nodes: How to ask each node, by its configuration: method, path and the seconds that it may take.
        indices: Names of indices without which the service cannot work.
        timeout: Seconds that all of it may take.
    """

    def __init__(self, nodes: Mapping[Any, Ask], indices: tuple[str, ...], timeout: float) -> None:
        self.configs = frozenset(nodes)
        self._nodes = list(nodes.values())
        self._indices = indices
        self._timeout = timeout
        self._watermarks = Watermarks()

    def __call__(self) -> HealthResult:
        """How the cluster is."""
        deadline = time.monotonic() + self._timeout
        reason, cause, nodes = "unreachable", "there are no nodes", self._nodes[:_MAX_NODES]
        for place, ask in enumerate(nodes):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            # The first node that answers comes first the next time; one that hangs leaves time for the others.
            try:
                status, body = ask("GET", "/_cluster/health", left / (len(nodes) - place))
            except Exception as error:
                reason, cause = _reason(error), f"{type(error).__name__}: {error}"[:500]
                continue
            self._nodes.remove(ask)
            self._nodes.insert(0, ask)
            found = self._with_indices(ask, _judge(status, body), deadline)
            if found.status is Status.UNHEALTHY or status != 200:
                return found
            return self._watermarks.added_to(found, ask, deadline - time.monotonic())
        words = {"timeout": "does not answer", "tls": "its certificate is not accepted"}.get(
            reason, "cannot be reached"
        )
        return HealthResult.unhealthy(f"Elasticsearch {words}", reason=reason, error=cause)

    def _with_indices(self, ask: Ask, result: HealthResult, deadline: float) -> HealthResult:
        if result.status is Status.UNHEALTHY:
            return result
        missing = []
        for index in self._indices:
            try:
                status, _ = ask("HEAD", f"/{index}", max(0.05, deadline - time.monotonic()))
            except Exception as error:
                return HealthResult.unhealthy("Elasticsearch does not answer", reason=_reason(error))
            if status == 404:
                missing.append(index)
        if not missing:
            return result
        message = f"required index is missing: {', '.join(missing)}"
        return HealthResult.unhealthy(message, reason="missing_index", **result.details)


def _judge(status: int, body: bytes) -> HealthResult:
    if status == 401:
        return HealthResult.unhealthy("Elasticsearch refuses the credentials", reason="unauthorized")
    if status == 403:
        return HealthResult.degraded(
            "Elasticsearch answers, but its health may not be read with these credentials", reason="forbidden"
        )
    if status in (404, 405, 410):
        return HealthResult.healthy("Elasticsearch answers; this kind of it does not tell the cluster's health")
    if status >= 400 and status != 408:  # 408 is a health that was waited for in vain, with a body as usual
        return HealthResult.unhealthy(f"Elasticsearch answers with status {status}", reason=f"http_{status}")
    try:
        health = orjson.loads(body)
        colour = health["status"]
    except (ValueError, KeyError, TypeError):
        return HealthResult.unhealthy("what answers is not Elasticsearch", reason="not_elasticsearch")
    details = {
        "cluster_name": health.get("cluster_name"),
        "cluster_status": colour,
        "nodes": health.get("number_of_nodes"),
        "data_nodes": health.get("number_of_data_nodes"),
        "active_shards": health.get("active_shards"),
        "initializing_shards": health.get("initializing_shards"),
        "relocating_shards": health.get("relocating_shards"),
        "unassigned_shards": health.get("unassigned_shards"),
        "pending_tasks": health.get("number_of_pending_tasks"),
    }
    if colour == "green":
        return HealthResult.healthy("cluster is green", **details)
    if colour == "yellow":
        message = "cluster is yellow: some replicas are not assigned; searches work"
        if details["data_nodes"] == 1:
            message += ". On one node this is what a healthy cluster looks like: replicas have no other node to go to"
        return HealthResult.degraded(message, reason="yellow", **details)
    return HealthResult.unhealthy(f"cluster is {str(colour)[:16]}", reason="red", **details)


def _reason(error: BaseException) -> str:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"TimeoutError", "ConnectionTimeout"}:
        return "timeout"
    return "tls" if names & {"TlsError", "SSLError"} else "unreachable"


def clusters(url: str, indices: tuple[str, ...], timeout: float, known: Mapping[str, Cluster]) -> dict[str, Cluster]:
    """The clusters to check, by the name of their component.

    Args:
        url: The one to check, in place of those that the application has clients for.
        indices: Names of indices without which the service cannot work.
        timeout: Seconds that a check may take.
        known: What this returned before: what has not changed keeps its connections.
    """
    found: dict[tuple[str, ...], dict[Any, tuple[Any, type | None]]] = {}
    if url:
        from elastic_transport.client_utils import url_to_node_config

        config = url_to_node_config(url, use_default_ports_for_scheme=True)
        found[_address(config),] = {config: (None, None)}
    else:
        for transport, client in clients.found():
            nodes = transport.node_pool.all()
            key = tuple(sorted({_address(node.config) for node in nodes}))
            if key and len(found) < _MAX_CLUSTERS:
                found.setdefault(key, {node.config: (client, type(node)) for node in nodes})
    named = {f"elasticsearch:{key[0]}" if len(found) > 1 else "elasticsearch": nodes for key, nodes in found.items()}
    return {
        name: known[name]
        if name in known and known[name].configs == frozenset(nodes)
        else Cluster({config: _Node(config, *how) for config, how in nodes.items()}, indices, timeout)
        for name, nodes in sorted(named.items())
    }


def _address(config: Any) -> str:
    return f"{config.host}:{config.port}"


class _Node:
    """Asks one node, through a connection of its own.

    Args:
        config: The node's configuration in the client.
        client: Whose headers are sent along; the configuration's own are sent in any case.
        cls: The client's class of nodes, used if it is the application's own: it may sign requests.
    """

    def __init__(self, config: Any, client: Any, cls: type | None) -> None:
        from elastic_transport import Urllib3HttpNode

        # Certificates were warned of when the application made its client.
        self._config = dataclasses.replace(config, connections_per_node=1, ssl_show_warn=False)
        self._client = None if client is None else weakref.ref(client)
        theirs = cls is not None and cls.__name__ not in _OWN_NODES
        chosen: Any = cls if theirs else Urllib3HttpNode
        self._class = chosen
        self._is_async = inspect.iscoroutinefunction(self._class.perform_request)
        self._node: Any = None if self._is_async else self._class(self._config)

    def __call__(self, method: str, path: str, timeout: float) -> Answer:
        headers: dict[str, str] = {**_headers(self._client and self._client()), "accept": "application/json"}
        if self._is_async:
            return asyncio.run(asyncio.wait_for(self._asked_on_a_loop(method, path, headers, timeout), timeout))
        meta, body = self._node.perform_request(method, path, headers=headers, request_timeout=timeout)
        return meta.status, body

    async def _asked_on_a_loop(self, method: str, path: str, headers: Mapping[str, str], timeout: float) -> Answer:
        node = self._class(self._config)
        try:
            meta, body = await node.perform_request(method, path, headers=headers, request_timeout=timeout)
            return meta.status, body
        finally:
            await node.close()


def _headers(client: Any) -> Mapping[str, str]:
    headers = getattr(client, "_headers", None) or {}
    return {name: headers[name] for name in headers if name.lower() not in ("accept", "content-type")}
