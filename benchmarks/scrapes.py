"""What scrapes and probes cost those who are served meanwhile: the tail of a search's duration, with and without them.

A service with workers answers searches at an even rate, over an engine that takes 20 ms. In every other
round another process scrapes `/metrics` and asks `/health/live` and `/health/ready` in turn, as fast as it
was told to. Rounds with and without are interleaved in one run, and the figure is the ratio of their medians.

    .venv/bin/python benchmarks/scrapes.py
    .venv/bin/python benchmarks/scrapes.py --rounds 4 --seconds 5
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.server
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
BINARIES = Path(sys.executable).parent
ASKED = ("/metrics", "/health/live", "/health/ready")
ENGINE_SECONDS = 0.02


def make_app():
    """The search service of the other benchmarks, whose engine takes its time."""
    from benchmarks import searchapp

    perform = searchapp.CannedNode.perform_request

    async def slowly(self, *args, **kwargs):
        await asyncio.sleep(ENGINE_SECONDS)
        return await perform(self, *args, **kwargs)

    searchapp.CannedNode.perform_request = slowly
    return searchapp.app


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
    """One GET on a connection that is kept; the status."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split()[1])


async def ask(port: int, paths: list[str], connections: int, rate: float) -> list[float]:
    """Ask for `paths` at an even rate over some connections; the seconds that each took."""
    times: list[float] = []
    waiting = iter(enumerate(paths))
    began = time.perf_counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, path in waiting:
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            started = time.perf_counter()
            status = await get(reader, writer, path)
            times.append(time.perf_counter() - started)
            if status != 200:
                raise SystemExit(f"{path} answers {status}")
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return times


def backend() -> str:
    """An address where readiness finds a cluster that is well, and OTLP finds somebody who takes it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(b'{"status": "green", "number_of_nodes": 3, "number_of_data_nodes": 3}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


@contextlib.contextmanager
def serving(workers: int):
    """The service; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    there = backend()
    env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": there,
        "OTEL_PYTHON_DISTRO": "otel_search",
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_SEARCH_ELASTICSEARCH_URL": there,
        "OTEL_SEARCH_ACCESS_LOG": "end",
    }
    command = [
        str(BINARIES / "opentelemetry-instrument"),
        str(BINARIES / "uvicorn"),
        "--factory",
        "benchmarks.scrapes:make_app",
    ]
    command += ["--app-dir", str(HERE.parent), "--port", str(port), "--workers", str(workers), "--log-level", "warning"]
    service = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, StopIteration, SystemExit, asyncio.IncompleteReadError):
                asyncio.run(ask(port, ["/health/live"] * workers * 4, workers * 2, 100))
                break
            time.sleep(0.1)
        yield port
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)


@contextlib.contextmanager
def asker():
    """The process that scrapes and probes: it is there in each round, and does nothing until it is told to."""
    command = [sys.executable, str(HERE / "scrapes.py"), "--ask"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(30)


def ask_when_told() -> None:
    """What that process does: a line is a port, how often and for how many seconds to ask."""
    for line in sys.stdin:
        port, number, seconds = line.split()
        paths = [ASKED[place % len(ASKED)] for place in range(int(number))]
        asyncio.run(ask(int(port), paths, 4, int(number) / float(seconds)))
        print("done", flush=True)


def one_round(port: int, options: argparse.Namespace, other: subprocess.Popen[str], asked: int) -> list[float]:
    """The seconds that each search took, while somebody asks so many times."""
    searches = ["/products/search?q=lamp&brand=acme"] * round(options.rate * options.seconds)
    if asked:
        other.stdin.write(f"{port} {asked} {options.seconds}\n")
        other.stdin.flush()
    times = asyncio.run(ask(port, searches, 32, options.rate))
    if asked and other.stdout.readline() != "done\n":
        raise SystemExit("scrapes and probes were not answered")
    return times


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[int(share * len(times))] * 1000


def main() -> None:
    """Run the rounds and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="pairs of rounds, one with and one without")
    parser.add_argument("--seconds", type=float, default=15.0, help="of a round")
    parser.add_argument("--rate", type=float, default=100.0, help="searches a second")
    parser.add_argument("--number", type=int, default=5000, help="scrapes and probes in all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask_when_told()
        return
    per_round = options.number // options.rounds
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    with serving(options.workers) as port, asker() as other:
        one_round(port, options, other, per_round)  # to warm up
        for number in range(options.rounds):
            for scraped in (False, True) if number % 2 else (True, False):
                found[scraped].append(one_round(port, options, other, per_round if scraped else 0))
    print(
        f"\n{options.rounds} pairs of rounds of {options.seconds:g} s, {options.rate:g} searches a second, "
        f"{options.workers} workers, {per_round * options.rounds} scrapes and probes in all\n"
    )
    print("| | p50 ms | p95 ms | p99 ms (range over rounds) |\n| --- | --- | --- | --- |")
    medians = {}
    for scraped, rounds in found.items():
        tails = [percentile(times, 0.99) for times in rounds]
        row = [statistics.median(percentile(times, share) for times in rounds) for share in (0.5, 0.95)]
        medians[scraped] = statistics.median(tails)
        name = f"{per_round / options.seconds:.0f} a second" if scraped else "none"
        print(f"| {name} | {row[0]:.2f} | {row[1]:.2f} | {medians[scraped]:.2f} ({min(tails):.2f}-{max(tails):.2f}) |")
    print(f"\np99 with over p99 without: {medians[True] / medians[False]:.3f}")


if __name__ == "__main__":
    main()
