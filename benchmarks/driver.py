"""Drives an application through ASGI in this process, one request after the other, and prints what it cost.

    python -m benchmarks.driver APP LOAD REQUESTS

APP is an import string; its module may have an `async flush()` that sends what is still held and may
return what a scrape has fetched. Runs in every variant's environment, so it needs the standard library alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from benchmarks.loads import LOADS, Load

Application = Callable[..., Awaitable[None]]


def scope_of(load: Load) -> dict[str, Any]:
    """The ASGI scope of one request, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": load.method,
        "scheme": "http",
        "path": load.path,
        "raw_path": load.path.encode(),
        "query_string": load.query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"shop.example:8000"),
            *((name.encode(), value.encode()) for name, value in load.headers.items()),
        ],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def request(app: Application, load: Load) -> bytes:
    """One request through ASGI; the body of its answer."""
    messages = [{"type": "http.request", "body": load.body, "more_body": False}]
    parts: list[bytes] = []
    never = asyncio.Event()

    async def receive():
        if not messages:
            await never.wait()  # a client that stays connected
        return messages.pop()

    async def send(message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise SystemExit(f"{load.target}: status {message['status']}")
        if message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope_of(load), receive, send)
    return b"".join(parts)


@contextlib.asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[None]:
    """The application between its start and its end, as a server tells it of them."""
    incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    running = asyncio.create_task(app(scope, incoming.get, outgoing.put))  # type: ignore[arg-type]
    for event in ("startup", "shutdown"):
        incoming.put_nowait({"type": f"lifespan.{event}"})
        answer = await outgoing.get()
        if answer["type"] != f"lifespan.{event}.complete":
            raise SystemExit(f"the application does not come through its {event}: {answer}")
        if event == "startup":
            yield
    await running


async def load_with(app: Application, load: Load, count: int) -> list[float]:
    """`count` requests, one after the other; the seconds that each took."""
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await asyncio.create_task(request(app, load))
        times.append(time.perf_counter() - began)
    return times


def flush_providers() -> None:
    """Send what OpenTelemetry's providers hold, as a server's end would, while it is still counted."""
    try:
        from opentelemetry import _logs, metrics, trace
    except ImportError:
        return
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
        if hasattr(provider, "force_flush"):
            provider.force_flush()


def quantile(times: list[float], share: float) -> float:
    """The time in milliseconds that this share of the sorted seconds does not exceed."""
    return times[min(len(times) - 1, int(len(times) * share))] * 1e3


def found(name: str) -> tuple[Application, Callable[[], Awaitable[Any]]]:
    """The application of an import string, and what flushes its telemetry."""
    module_name, _, attribute = name.partition(":")
    module = importlib.import_module(module_name)

    async def flush() -> Any:
        flush_providers()
        own = getattr(module, "flush", None)
        return await own() if own else None

    return getattr(module, attribute), flush


async def measure(name: str, load: Load, count: int) -> dict[str, Any]:
    """CPU microseconds a request of all threads with the final flush, quantiles in ms, and what set-up took."""
    app, flush = found(name)
    async with lifespan(app):
        # CPU time counts from the start of the process, the launcher and the interpreter included.
        result: dict[str, Any] = {"setup_cpu": time.process_time()}
        await load_with(app, load, max(1, count // 5))
        await flush()
        cpu = time.process_time()
        times = sorted(await load_with(app, load, count))
        scraped = await flush()
        result["cpu"] = (time.process_time() - cpu) / count * 1e6
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    result |= {key: quantile(times, share) for key, share in shares.items()}
    return result | ({"scraped": scraped} if scraped else {})


if __name__ == "__main__":
    measured = asyncio.run(measure(sys.argv[1], LOADS[sys.argv[2]], int(sys.argv[3])))
    print("RESULT " + json.dumps(measured), file=sys.stderr, flush=True)
