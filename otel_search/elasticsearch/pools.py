"""How many nodes and connections the clients of this process have.

Nodes come from elastic_transport's node pools, connections from the HTTP library beneath. None of
them publishes all of its figures; what is read from a private attribute counts as unknown when a
version has none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from weakref import WeakSet

from otel_search.elasticsearch.bounded import Bounded

_IDLE, _USED = "idle", "used"
_MAX_POOLS = 64


class Pools:
    """The transports of living clients."""

    def __init__(self) -> None:
        self._transports: WeakSet[Any] = WeakSet()
        self._names = Bounded(_MAX_POOLS)

    def __contains__(self, transport: Any) -> bool:
        return transport in self._transports

    def add(self, transport: Any) -> None:
        """Count the nodes and connections of `transport` as long as it lives."""
        self._transports.add(transport)

    def nodes(self) -> dict[str, int]:
        """Nodes by state: `alive` or `dead`."""
        counted = {"alive": 0, "dead": 0}
        for transport in list(self._transports):
            pool = transport.node_pool
            total = len(pool)
            # The pool tells its nodes and takes notice of dead ones, but does not say which are.
            alive = len(getattr(pool, "_alive_nodes", pool.all()))
            counted["alive"] += min(alive, total)
            counted["dead"] += max(total - alive, 0)
        return counted

    def connections(self) -> dict[tuple[str, str], int]:
        """Connections by the node's address and state, `idle` or `used`, where the HTTP library tells."""
        counted: Counter[tuple[str, str]] = Counter()
        for transport in list(self._transports):
            for node in transport.node_pool.all():
                found = connections_of(node)
                if found is not None:
                    name = self._names(f"{node.host}:{node.port}")
                    counted[name, _IDLE] += found[0]
                    counted[name, _USED] += found[1]
        return dict(counted)


def connections_of(node: Any) -> tuple[int, int] | None:
    """Idle and used connections of a node, or `None` if its HTTP library is not known."""
    for part, count in (("pool", _urllib3), ("session", _session), ("client", _httpx)):
        if hasattr(node, part):
            owner = getattr(node, part)
            # aiohttp's session is made by the first request.
            return (0, 0) if owner is None else count(owner)
    return None


def _urllib3(pool: Any) -> tuple[int, int] | None:
    # A queue of connections; a free place is `None`, and a connection in use has left the queue.
    waiting = getattr(pool, "pool", None)
    if waiting is None:
        return (0, 0)
    places = list(waiting.queue)
    idle = sum(1 for connection in places if connection is not None)
    return idle, max(waiting.maxsize - len(places), 0)


def _session(session: Any) -> tuple[int, int] | None:
    return _aiohttp(session.connector) if hasattr(session, "connector") else _requests(session)


def _aiohttp(connector: Any) -> tuple[int, int] | None:
    if connector is None or connector.closed:
        return (0, 0)
    if not hasattr(connector, "_conns") or not hasattr(connector, "_acquired"):
        return None
    return sum(len(connections) for connections in connector._conns.values()), len(connector._acquired)


def _requests(session: Any) -> tuple[int, int] | None:
    idle = used = 0
    for adapter in session.adapters.values():
        known = getattr(getattr(adapter, "poolmanager", None), "pools", None)
        if known is None:
            continue
        for key in list(known.keys()):
            found = _urllib3(known.get(key))
            if found is not None:
                idle, used = idle + found[0], used + found[1]
    return idle, used


def _httpx(client: Any) -> tuple[int, int] | None:
    pool = getattr(getattr(client, "_transport", None), "_pool", None)
    connections = getattr(pool, "connections", None)
    if connections is None:
        return None
    idle = sum(1 for connection in connections if connection.is_idle())
    return idle, len(connections) - idle
