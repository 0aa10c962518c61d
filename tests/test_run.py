"""`otel-search run -- COMMAND`: the service and the viewer begin and end together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.service import APPS, PATIENCE, eventually, free_port

# The usual ports may be taken where the tests run: others take their place.
PROGRAM = """
import sys
import otel_search.viewer.receiver, otel_search.viewer.viewer
otel_search.viewer.receiver.DEFAULT_PORT = int(sys.argv[1])
otel_search.viewer.viewer.DEFAULT_PORT = int(sys.argv[2])
from otel_search.cli import main
sys.exit(main(sys.argv[3:]))
"""


class Running:
    """`otel-search run` with a command, and what it writes."""

    def __init__(self, directory: Path, command: Sequence[str], *options: str, **environ: str) -> None:
        self.otlp_port, self.page_port = free_port(), free_port()
        self.output, self.errors = directory / "output", directory / "errors"
        self.directory = directory
        self.command, self.options = command, options
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            **environ,
        }

    def __enter__(self) -> Self:
        program = [sys.executable, "-c", PROGRAM, str(self.otlp_port), str(self.page_port)]
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*program, "run", *self.options, "--", *self.command],
                cwd=APPS,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self, pattern: str) -> str:
        """What our own lines say, as soon as they do."""

        def look() -> str:
            found = re.search(pattern, self.errors.read_text())
            if not found and self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.errors.read_text()}")
            return found[1] if found else ""

        return eventually(look)

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def running(tmp_path: Path, port: int) -> Iterator[Running]:
    with Running(tmp_path, ["uvicorn", "telling:app", "--port", str(port)]) as service:
        yield service


def answered(port: int) -> httpx.Response:
    def look() -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/items/1", timeout=PATIENCE)
        return None

    return eventually(look)


def test_what_the_service_does_is_on_the_page(running: Running, port: int) -> None:
    page = running.said(r"Viewer +(http\S+)")
    assert page.endswith(f":{running.page_port}")
    assert running.said(r"Receiver +(http\S+)").endswith(f":{running.otlp_port}")
    trace_id = answered(port).headers["x-trace-id"]
    eventually(lambda: "/items/{number}" in httpx.get(f"{page}/traces/{trace_id}", timeout=PATIENCE).text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_group", [False, True], ids=["alone", "to the group"])
def test_a_signal_ends_both_cleanly(running: Running, port: int, number: int, to_group: bool) -> None:
    answered(port)
    started = running.processes()
    (os.killpg if to_group else os.kill)(running.process.pid, number)
    status = running.process.wait(PATIENCE)
    assert status in (0, 128 + number)
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert "Application shutdown complete" in running.output.read_text()
    assert "Traceback" not in running.output.read_text() + running.errors.read_text()
    for taken in (running.page_port, running.otlp_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", taken)) != 0


def test_the_service_does_not_outlive_a_kill(running: Running, port: int) -> None:
    answered(port)
    started = running.processes()
    running.process.kill()
    eventually(lambda: not [each for each in started if each.is_running() and each.status() != psutil.STATUS_ZOMBIE])


@pytest.mark.parametrize(("ends", "status"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_status_is_that_of_the_service(tmp_path: Path, ends: str, status: int) -> None:
    with Running(tmp_path, [sys.executable, "-c", f"import os, sys; {ends}"]) as running:
        assert running.process.wait(PATIENCE) == status


def test_a_receiver_that_runs_already_is_used_and_said(tmp_path: Path, port: int) -> None:
    recording = Recording()
    service = Running(tmp_path, ["uvicorn", "telling:app", "--port", str(port)])
    with Receiver(recording.add, port=service.otlp_port), service as running:
        running.said(r"(runs already: telemetry goes there)")
        assert "Viewer" not in running.errors.read_text()


def test_a_port_that_something_else_has_is_replaced_and_said(tmp_path: Path, port: int) -> None:
    service = Running(tmp_path, ["uvicorn", "telling:app", "--port", str(port)])
    with socket.create_server(("127.0.0.1", service.otlp_port)) as other, service as running:
        assert other
        running.said(r"(is taken by something that takes no OTLP)")
        assert not running.said(r"Receiver +(http\S+)").endswith(f":{service.otlp_port}")
        answered(port)


def test_an_endpoint_that_the_user_has_set_stays(tmp_path: Path, port: int) -> None:
    recording = Recording()
    with (
        Receiver(recording.add) as receiver,
        Running(
            tmp_path,
            ["uvicorn", "telling:app", "--port", str(port)],
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        ) as running,
    ):
        running.said(r"(OTEL_EXPORTER_OTLP_ENDPOINT is set: telemetry goes there)")
        trace_id = answered(port).headers["x-trace-id"]
        recording.wait_for(lambda seen: seen.trace(trace_id), PATIENCE)


def test_a_port_that_was_asked_for_and_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = str(taken.getsockname()[1])
        with Running(tmp_path, ["uvicorn", "telling:app"], "--otlp-port", wanted) as running:
            assert running.process.wait(PATIENCE) == 1
    assert re.fullmatch(
        rf"otel-search run: port {wanted} of 127.0.0.1 is taken: .*--otlp-port\n", running.errors.read_text()
    )


def test_a_program_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with Running(tmp_path, ["no-such-program"]) as running:
        assert running.process.wait(PATIENCE) == 127
    assert running.errors.read_text() == "otel-search run: there is no program 'no-such-program' on PATH\n"
