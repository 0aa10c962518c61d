"""One backend process on loopback: free ports, readiness, log, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.backends.components import find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0

T = TypeVar("T")

# Loopback is never behind a proxy, whatever http_proxy says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class BackendError(RuntimeError):
    """A backend did not start, or ended on its own."""


def eventually(read: Callable[[], T], accept: Callable[[T], bool] = bool, timeout: float = 20.0) -> T:
    """Read again and again until the answer is accepted.

    Args:
        read: Gives the present state.
        accept: Says whether it is the awaited one.
        timeout: Bound on the wait, in seconds.

    Returns:
        The accepted state, or the last one read: the caller's own assertion then shows it.
    """
    deadline = time.monotonic() + timeout
    while True:
        state = read()
        if accept(state) or time.monotonic() > deadline:
            return state
        time.sleep(0.05)


def get(url: str, parameters: Mapping[str, str] | None = None, timeout: float = 5.0) -> tuple[int, bytes]:
    """GET a URL; an HTTP error status is an answer like any other.

    Args:
        url: Without a query string.
        parameters: The query string's content.
        timeout: For connecting and for each read, in seconds.

    Returns:
        The status and the body.

    Raises:
        OSError: Nobody answered.
    """
    full = f"{url}?{urllib.parse.urlencode(parameters)}" if parameters else url
    try:
        with _OPENER.open(full, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def get_json(url: str, parameters: Mapping[str, str] | None = None) -> Any:
    """GET a URL that answers 200 with JSON.

    Raises:
        BackendError: Any other status; the message carries the body.
    """
    status, body = get(url, parameters)
    if status != 200:
        raise BackendError(f"GET {url} answered {status}: {body.decode(errors='replace')[:500]}")
    return json.loads(body)


def free_ports(count: int) -> list[int]:
    """Return different TCP ports that are free on loopback at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Server(ABC):
    """A backend's process, started and stopped as a context manager.

    Args:
        directory: Where its log, configuration and data go; made if it is missing.
    """

    program: str
    port_names: Sequence[str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Everything that the process has written to stdout and stderr."""
        return self.directory / f"{self.program}.log"

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            BackendError: It is not running.
        """
        if self._process is None:
            raise BackendError(f"{self.program} is not running")
        return self._process.pid

    def address(self, port_name: str) -> str:
        """Return ``host:port`` of one of its ports."""
        return f"127.0.0.1:{self.ports[port_name]}"

    @abstractmethod
    def arguments(self) -> list[str]:
        """Return the command line after the program, for the present ports."""

    @abstractmethod
    def ready_url(self) -> str:
        """Return the URL that answers 200 once the backend serves."""

    def is_ready(self) -> bool:
        """Whether it serves now.

        Raises:
            OSError: Nobody answers.
        """
        return get(self.ready_url(), timeout=1.0)[0] == 200

    def environment(self) -> dict[str, str]:
        """Return the variables that the configuration reads, for the present ports."""
        return {}

    def start(self, again: bool = False) -> None:
        """Start the process and wait until it serves.

        Args:
            again: On the ports that it had before, for those who know it by them.

        Raises:
            BackendError: It is not built, or did not get ready; the message ends with its log's last lines.
        """
        path = find(self.program)
        if path is None:
            raise BackendError(f"{self.program} is not built: run `make backends`")
        self.directory.mkdir(parents=True, exist_ok=True)
        for attempt in range(3):
            # Between our look and its bind another process can take a port: then try others.
            if not again:
                self.ports = dict(zip(self.port_names, free_ports(len(self.port_names)), strict=True))
            self._launch(path)
            problem = self._wait_until_ready()
            if problem is None:
                return
            self.stop()
            lines = self.log.read_text(errors="replace").splitlines()
            if attempt == 2 or not any("address already in use" in line for line in lines):
                raise BackendError("\n".join([f"{self.program} {problem}; {self.log} ends with:", *lines[-20:]]))

    def _launch(self, path: Path) -> None:
        command = [str(path), *self.arguments()]
        # If the test run itself is killed, no fixture gets to stop us: let the kernel do it.
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        # Not the caller's environment: its OTEL_* variables are meant for another program.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**kept, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _wait_until_ready(self) -> str | None:
        assert self._process is not None
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return f"ended with status {self._process.returncode} instead of starting"
            try:
                if self.is_ready():
                    return None
            except OSError:
                pass  # not listening yet
            time.sleep(0.05)
        return f"was not ready after {READY_TIMEOUT:.0f} s"

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL if it does not heed that in time. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
