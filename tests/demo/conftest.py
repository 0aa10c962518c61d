"""The demo's service, run as any other program, beside its engine."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import httpx
import pytest

from otel_search.demo import engine
from otel_search.demo.run import fill
from otel_search.processes import Processes, free_port


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with Processes(tmp_path_factory.mktemp("demo")) as processes:
        yield processes


def start_service(processes, engine_url, name="service", **environ):
    """The service without the launcher and without telemetry, ready to answer."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "otel_search.demo.app:app", "--port", str(port)]
    service = processes.start(
        name,
        command,
        {**os.environ, "ELASTICSEARCH_URL": engine_url, "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS, **environ},
    )
    url = f"http://127.0.0.1:{port}"
    while True:
        assert service.popen.poll() is None, service.last_lines()
        try:
            if httpx.get(f"{url}/health").json() == {"status": "ok"}:
                break
        except httpx.TransportError:
            time.sleep(0.05)
    # uvicorn closes the connection of a request that ended in an exception: a connection each.
    return httpx.Client(base_url=url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


@pytest.fixture(scope="module")
def service(processes):
    """A client of the service, with the catalogue in its index."""
    engine_url = engine.start_engine(processes, os.environ)
    assert asyncio.run(fill(engine_url)) == 2400
    with start_service(processes, engine_url) as client:
        yield client
