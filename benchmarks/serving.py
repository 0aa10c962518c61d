"""The application behind a real server: how fast it starts and ends, its throughput, latency and memory.

Throughput is `wrk`'s with as many connections as keep the worker busy. Latency is that of our own paced
client at a fixed rate: a request that has to wait counts from when it was due, not from when it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.driver import quantile
from benchmarks.loads import LOADS, Load
from benchmarks.processes import environment
from benchmarks.variants import PROJECT, Variant

CONNECTIONS = 16
PATIENCE = 60.0
_LATENCY_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Served:
    """An application that a server serves.

    Attributes:
        process: The server.
        url: Where it is.
        start: Seconds from the command to the first answer.
        exit: Seconds from SIGTERM to its end, once it has ended.
    """

    def __init__(self, variant: Variant, endpoint: str, workers: int = 1) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = variant.command("uvicorn", variant.app, "--port", str(port))
        if workers > 1:
            command += ["--workers", str(workers)]
        self.url = f"http://127.0.0.1:{port}"
        self.exit = 0.0
        began = time.monotonic()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        self.process = psutil.Popen(
            command,
            cwd=PROJECT,
            env=environment(endpoint, variant.variables),
            stdout=subprocess.DEVNULL,
            stderr=self._output,
        )
        self._wait_until_ready(port, began)
        self.start = time.monotonic() - began

    def _wait_until_ready(self, port: int, began: float) -> None:
        while time.monotonic() - began < PATIENCE and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as asked:
                asked.sendall(b"GET /products/categories HTTP/1.0\r\nHost: shop.example\r\n\r\n")
                if asked.recv(4096).startswith(b"HTTP/1.1 200"):
                    return
            time.sleep(0.005)
        self.stop()
        self._output.seek(0)
        raise SystemExit(f"{self.url} does not answer:\n{self._output.read().decode(errors='replace')}")

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def rss(self) -> float:
        """MiB of all its processes."""
        return sum(process.memory_info().rss for process in self._processes()) / 2**20

    def cpu(self) -> float:
        """Seconds that all its processes have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def stop(self) -> None:
        """End it by SIGTERM, and after a minute by SIGKILL."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            for process in self._processes():
                process.kill()
            self.process.wait()
        self.exit = time.monotonic() - began


@contextlib.contextmanager
def serving(variant: Variant, endpoint: str, workers: int = 1) -> Iterator[Served]:
    """A served application, ended when the block ends."""
    served = Served(variant, endpoint, workers)
    try:
        yield served
    finally:
        served.stop()
        served._output.close()


def measure(variant: Variant, endpoint: str, loads: list[str], *, seconds: float, rate: float) -> dict[str, Any]:
    """Start, load, stop: everything about a served variant, in seconds, ms, MiB and requests a second."""
    by_load: dict[str, dict[str, float]] = {}
    with serving(variant, endpoint) as served:
        for name in loads:
            times = asyncio.run(paced(served.url, LOADS[name], seconds=seconds, rate=rate * LOADS[name].share))
            by_load[name] = {key: quantile(times, share) for key, share in {"p50": 0.5, "p99": 0.99}.items()}
            if shutil.which("wrk"):
                by_load[name] |= saturated(served.url, LOADS[name], seconds)
        rss = served.rss()
    return {"start": served.start, "exit": served.exit, "rss": rss, "loads": by_load}


async def paced(url: str, load: Load, *, seconds: float, rate: float) -> list[float]:
    """Requests at an even rate; the seconds from when each was due to its whole answer, sorted."""
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def one(due: float) -> None:
        sent = session.request(load.method, url + load.target, data=load.body or None, headers=load.headers)
        async with sent as response:
            await response.read()
            if response.status != 200:
                raise SystemExit(f"{load.target}: status {response.status}")
        times.append(loop.time() - due)

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        began = loop.time() + 0.01
        for number in range(max(1, int(seconds * rate))):
            due = began + number / rate
            await asyncio.sleep(due - loop.time())
            group.create_task(one(due))
    return sorted(times)


def saturated(url: str, load: Load, seconds: float) -> dict[str, float]:
    """Requests a second at saturation, and the p99 there in ms, by `wrk`."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "request.lua"
        headers: Mapping[str, str] = {k: v for k, v in load.headers.items() if k != "content-length"}
        script.write_text(
            f"wrk.method = {json.dumps(load.method)}\n"
            + (f"wrk.body = [==[{load.body.decode()}]==]\n" if load.body else "")
            + "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in headers.items())
        )
        said = subprocess.run(
            [
                "wrk",
                "-t1",
                f"-c{CONNECTIONS}",
                f"-d{max(1, round(seconds))}s",
                "--latency",
                "-s",
                str(script),
                url + load.target,
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    if "Non-2xx" in said:
        raise SystemExit(f"{load.target}: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", said)
    if rate is None or p99 is None:
        raise SystemExit(f"wrk says nothing that can be read:\n{said}")
    return {"rps": float(rate[1]), "p99 saturated": float(p99[1]) * _LATENCY_UNITS[p99[2]]}
