"""The application under the doctor's eyes: started by the launcher, asked once, its telemetry followed, and ended."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import psutil

from otel_search.doctor.exporters import targets
from otel_search.doctor.inside import ADDRESS
from otel_search.doctor.observed import Observed, Process
from otel_search.doctor.reach import ask
from otel_search.doctor.relay import Relay
from otel_search.processes import Guarded

T = TypeVar("T")

_FOLLOW = 6.0
"""Seconds in which telemetry has to arrive after the request; the delays are set to a fraction of it."""
_SPAN = 3.0
"""Seconds after which a span that has not come does not come, if all else has."""
_END = 20.0
_PROMETHEUS_PORT = "9464"
_DELAYS = {
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}
_ENTRY_POINT = "[opentelemetry_post_instrument]\notel_search_doctor = otel_search.doctor.inside:report\n"


def observe(
    command: Sequence[str],
    environ: Mapping[str, str],
    effective: Mapping[str, str],
    launcher: Path,
    *,
    path: str = "/",
    timeout: float = 30.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Observed:
    """Start an application, send it one request, and follow its telemetry to the exporters.

    Args:
        command: Its command, without the launcher.
        environ: Its environment.
        effective: The environment with defaults, which says where telemetry goes.
        launcher: `opentelemetry-instrument`.
        path: What to ask for.
        timeout: Seconds in which it has to serve, and then to answer.
        progress: Told what is being done.
    """
    seen = Observed()
    if shutil.which(command[0], path=environ.get("PATH")) is None and not Path(launcher).with_name(command[0]).exists():
        seen.failed, seen.detail = "not-found", f"there is no program {command[0]!r} on PATH"
        return seen
    if re.search(r"(^|\s)--uds[ =]|\bunix:", " ".join(command)):
        seen.failed = "unix-socket"
        seen.detail = "it is to listen on a Unix socket, and the doctor asks at a port: give it one, as in --port 8000"
        return seen
    wanted = _port_of(command)
    if wanted and _is_taken(wanted):
        seen.failed, seen.detail = "port-taken", f"port {wanted} is in use already"
        return seen
    with (
        tempfile.TemporaryDirectory(prefix="otel-search-") as directory,
        Relay(targets(effective)) as relay,
        _Questions(Path(directory) / "socket") as questions,
    ):
        seen.relays = relay.addresses
        output = Path(directory) / "output"
        variables = _environment(environ, Path(directory), questions, relay, launcher)
        with output.open("wb") as file:
            progress(f"starting {' '.join(command)}")
            service = Guarded(
                [str(launcher), *command],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            others = {environ.get("OTEL_SEARCH_MANAGEMENT_PORT", ""), _PROMETHEUS_PORT}
            look = functools.partial(_listening, service.pid, wanted, others)
            _ask(seen, service, look, path, timeout, progress)
            if not seen.failed and questions.are_answered:
                progress("following its telemetry")
                began = time.monotonic()
                _until(lambda: _has_arrived(relay, effective, time.monotonic() - began), _FOLLOW)
                _until(lambda: _all_have_started(seen, questions), timeout)
            else:
                seen.processes = questions.ask()
        finally:
            progress("ending it")
            _end(service)
        seen.spans, seen.logs, seen.metrics = relay.recording.spans, relay.recording.logs, relay.recording.metrics
        seen.deliveries = list(relay.deliveries)
        seen.output = output.read_text(errors="replace").splitlines()[-200:]
    return seen


def _environment(
    environ: Mapping[str, str], directory: Path, questions: _Questions, relay: Relay, launcher: Path
) -> dict[str, str]:
    info = directory / "otel_search_doctor-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otel-search-doctor\nVersion: 1\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINT)
    # Behind what is there: it must not change which distribution is found first.
    python_path = os.pathsep.join(filter(None, (environ.get("PYTHONPATH", ""), str(directory))))
    path = os.pathsep.join(filter(None, (environ.get("PATH", os.defpath), str(launcher.parent))))
    return {
        **environ,
        **_DELAYS,
        **relay.variables(),
        ADDRESS: str(questions.path),
        "PYTHONPATH": python_path,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        # The one in lower case wins, where there is one.
        **{name: ",".join(filter(None, (environ.get(name), "127.0.0.1"))) for name in ("NO_PROXY", "no_proxy")},
    }


def _ask(
    seen: Observed,
    service: Guarded,
    look: Callable[[], str],
    path: str,
    timeout: float,
    progress: Callable[[str], None],
) -> None:
    address = _until(lambda: service.poll() is not None or look(), timeout)
    if service.poll() is not None:
        seen.failed, seen.detail = "ended", f"it ended with status {service.returncode} before it served"
    elif not isinstance(address, str) or not address:
        seen.failed, seen.detail = "silent", f"it listens on no port after {timeout:g} s"
    else:
        seen.url = f"http://{address}{path}"
        progress(f"asking for {seen.url}")
        answer = ask(seen.url, headers={"user-agent": "otel-search-doctor"}, timeout=timeout)
        seen.status, seen.trace_id = answer.status, answer.headers.get("x-trace-id", "")
        if answer.failed:
            seen.failed, seen.detail = "no-answer", f"GET {seen.url}: {answer.detail}"


def _has_arrived(relay: Relay, effective: Mapping[str, str], waited: float) -> bool:
    arrived = {delivery.signal for delivery in relay.deliveries}
    expected = {target.signal for target in targets(effective)}
    if "traces" in expected and waited < _SPAN and not any(span.kind == "SERVER" for span in relay.recording.spans):
        return False
    return expected - {"traces"} <= arrived


def _all_have_started(seen: Observed, questions: _Questions) -> bool:
    """Whether the other workers are as far as the one that has answered."""
    seen.processes = questions.ask()
    return not seen.starting


def _end(service: Guarded) -> None:
    service.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        service.wait(_END)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.wait()


def _until(look: Callable[[], T], timeout: float) -> T:
    """What `look` returns as soon as it is true, or in the end."""
    deadline = time.monotonic() + timeout
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _port_of(command: Sequence[str]) -> int | None:
    """The port that a server's command line names; none, if that is any free one."""
    text = " ".join(command)
    found = re.search(r"(?:^|\s)(?:--port|-p)[ =](\d+)", text) or re.search(
        r"(?:^|\s)(?:--bind|-b)[ =]\S*?:(\d+)", text
    )
    return int(found[1]) or None if found else None


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _listening(pid: int, wanted: int | None, others: Container[str]) -> str:
    """The address that a process or one of its children listens on, as `host:port`; not one of our `others`."""
    found: list[tuple[str, int]] = []
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                listening = [c for c in each.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
                found += [(connection.laddr.ip, connection.laddr.port) for connection in listening]
    for ip, port in found:
        if port == wanted or (wanted is None and str(port) not in others):
            host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(ip, f"[{ip}]" if ":" in ip else ip)  # noqa: S104
            return f"{host}:{port}"
    return ""


@dataclass
class _Questions:
    """Asks the application's processes what they are, by a socket that they connect to."""

    path: Path
    _connections: list[socket.socket] = field(default_factory=list)
    _ends: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        listener = self._ends.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(self.path))
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()
        self._ends.close()

    @property
    def are_answered(self) -> bool:
        """Whether the launcher has reached any process."""
        return bool(self._connections)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connections.append(listener.accept()[0])

    def ask(self) -> list[Process]:
        """What each process answers."""
        return list(self._answers())

    def _answers(self) -> Iterator[Process]:
        for connection in list(self._connections):
            connection.settimeout(5)
            with contextlib.suppress(OSError, ValueError):
                connection.sendall(b"facts\n")
                with connection.makefile("r", encoding="utf-8") as lines:
                    yield Process.of(json.loads(lines.readline()))
