"""Starts a service the way a user does, and reads what it writes and sends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from otel_search.viewer.otlp import ExportRequest
from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording

T = TypeVar("T")

BIN = Path(sys.executable).parent
APPS = Path(__file__).parent / "apps"
PATIENCE = 30.0
"""Seconds that a test waits for what must come; nothing that works needs a tenth of it."""
LATE = float(os.environ.get("OTEL_SEARCH_TESTS_LATE", "0"))
"""Seconds by which tests see later what a service says and sends, so that one that looks too early fails every time."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(look: Callable[[], T], timeout: float = PATIENCE) -> T:
    """What `look` returns as soon as it is truthy; fails with what it returned last."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s; last seen: {found!r}")
        time.sleep(0.02)


class Service:
    """A process under `opentelemetry-instrument`, its lines of output, and what it sent."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], port: int, recording: Recording) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.recording = recording
        self._said: list[tuple[float, str]] = []
        self._errors: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            list(command),
            cwd=APPS,
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._said), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._errors), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[tuple[float, str]]) -> None:
        for line in iter(stream.readline, ""):
            lines.append((time.monotonic(), line.rstrip("\n")))

    @property
    def lines(self) -> list[str]:
        """The lines of stdout so far."""
        return self._seen(self._said)

    @property
    def error_lines(self) -> list[str]:
        """The lines of stderr so far."""
        return self._seen(self._errors)

    def _seen(self, lines: list[tuple[float, str]]) -> list[str]:
        until = time.monotonic() - (LATE if self.process.poll() is None else 0.0)
        return [line for at, line in list(lines) if at <= until]

    def wait_until_ready(self, path: str = "/health") -> None:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.output()}")
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(self.url + path, timeout=5).status_code < 500
            return False

        eventually(ready)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **kwargs)

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """End the process by a signal; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {timeout:g} s after signal {number}:\n{self.output()}") from None
        for reader in self._readers:
            reader.join(5)
        time.sleep(LATE)  # what it has sent is seen so much later
        return status

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for reader, stream in zip(self._readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join(5)
            if stream is not None and not reader.is_alive():
                stream.close()

    def output(self) -> str:
        return "\n".join([*self.lines, *self.error_lines])

    def events(self, at_least: int = 0, **where: Any) -> list[dict[str, Any]]:
        """The JSON lines of stdout that have these fields, as soon as there are so many; every line must be strict JSON."""

        def seen() -> list[dict[str, Any]]:
            events = [json.loads(line, parse_constant=_refuse) for line in self.lines]
            return [event for event in events if all(event.get(name) == value for name, value in where.items())]

        return eventually(lambda: len(found := seen()) >= at_least and found) if at_least else seen()

    def event(self, **where: Any) -> dict[str, Any]:
        """The one line with these fields, as soon as it is there."""
        (found,) = self.events(at_least=1, **where)
        return found


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@contextlib.contextmanager
def serve(
    app: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    recording: Recording | None = None,
    ready: str = "/health",
    launcher: bool = True,
) -> Iterator[Service]:
    """Serve `tests/apps/<app>` under the launcher, with a recording OTLP receiver as its Collector.

    Args:
        app: An import string such as `basic:app`.
        *arguments: More arguments for uvicorn.
        env: Variables beside those that point to the receiver; an empty value unsets one.
        command: In place of uvicorn; `{port}` is replaced.
        recording: Where to record; by default a fresh one.
        ready: The path that answers when the service is ready.
        launcher: Whether `opentelemetry-instrument` stands before the command.
    """
    recording = recording or Recording()
    port = free_port()
    command = command or [str(BIN / "uvicorn"), app, "--host", "127.0.0.1", "--port", "{port}", *arguments]
    command = [part.replace("{port}", str(port)) for part in command]
    if launcher:
        command = [str(BIN / "opentelemetry-instrument"), *command]

    def add(request: ExportRequest) -> None:
        if LATE:
            threading.Timer(LATE, recording.add, [request]).start()
        else:
            recording.add(request)

    with Receiver(add) as receiver:
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))},
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_PYTHON_DISTRO": "otel_search",  # upstream's is installed beside it
            "OTEL_SERVICE_NAME": "test-service",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_BLRP_SCHEDULE_DELAY": "200",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        service = Service(command, {k: v for k, v in variables.items() if v != ""}, port, recording)
        try:
            service.wait_until_ready(ready)
            yield service
        finally:
            service.kill()
