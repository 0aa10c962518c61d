"""Reaching a server step by step: name, connection, TLS, an answer. What fails is told apart by its step."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

TIMEOUT = 4.0
"""Seconds for each step; an exporter waits longer, and who asks a doctor is in a hurry."""

_MAX_BODY = 64 * 1024


@dataclass(frozen=True)
class Tls:
    """What to trust and to show; paths of PEM files, empty for the system's and for none."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        failed: The step that failed: `url`, `name`, `refused`, `unreachable`, `hangs`, `files`, `tls`, `protocol`,
            or empty if there is an answer.
        detail: What went wrong, in words.
        status: Of the answer.
        headers: Of the answer, their names in lower case.
        body: The beginning of it.
        asked_at: When the answer came, in seconds since the epoch.
    """

    failed: str = ""
    detail: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked_at: float = 0.0


class _FailedError(Exception):
    def __init__(self, step: str, detail: str) -> None:
        super().__init__(detail)
        self.answer = Answer(step, detail)


def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    tls: Tls | None = None,
    timeout: float = TIMEOUT,
) -> Answer:
    """Send one request, without redirects and without a proxy.

    Args:
        url: With scheme http or https.
        method: The HTTP method.
        headers: Of the request.
        body: Of the request.
        tls: What to trust and to show.
        timeout: Seconds for each step.
    """
    try:
        connection, path = connect(url, tls, timeout)
    except _FailedError as failed:
        return failed.answer
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=answered, body=response.read(_MAX_BODY), asked_at=time.time())
    except TimeoutError:
        return Answer("hangs", f"connected, but no answer in {timeout:g} s")
    except (http.client.HTTPException, OSError) as error:
        return Answer("protocol", f"the answer is not HTTP ({type(error).__name__})")
    finally:
        connection.close()


def connect(url: str, tls: Tls | None, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection that stands, and the path to ask for on it.

    Raises:
        _FailedError: With the step that failed.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise _FailedError("url", str(error)) from error
    if parts.scheme not in ("http", "https") or not host:
        raise _FailedError("url", "no URL with http or https")
    sock = reach(host, port, timeout)
    if parts.scheme == "https":
        sock = _secured(sock, host, tls or Tls(), timeout)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    connection.sock = sock
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return connection, path


def reach(host: str, port: int, timeout: float = TIMEOUT) -> socket.socket:
    """A TCP connection; raises `_FailedError`."""
    try:
        addresses = _within(timeout, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except socket.gaierror as error:
        raise _FailedError("name", f"{host} is not known ({error.strerror or error})") from error
    except (UnicodeError, OverflowError) as error:
        raise _FailedError("url", str(error)) from error
    except TimeoutError as error:
        raise _FailedError("name", f"no answer to the question for {host} in {timeout:g} s") from error
    failure = _FailedError("unreachable", f"{host} has no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except ConnectionRefusedError:
            failure = _FailedError("refused", f"nothing listens on {host}:{port}")
        except TimeoutError:
            failure = _FailedError("hangs", f"no connection to {host}:{port} in {timeout:g} s")
        except OSError as error:
            failure = _FailedError("unreachable", f"{host}:{port}: {error.strerror}")
        else:
            return sock
        sock.close()
    raise failure


def _secured(sock: socket.socket, host: str, tls: Tls, timeout: float) -> ssl.SSLSocket:
    try:
        context = ssl.create_default_context(cafile=tls.authorities or None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None)
    except (OSError, ValueError) as error:
        sock.close()
        files = ", ".join(filter(None, (tls.authorities, tls.certificate, tls.key)))
        raise _FailedError("files", f"{files}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        detail = f"its certificate is not trusted: {error.verify_message}"
    except TimeoutError:
        detail = f"no TLS handshake in {timeout:g} s"
    except (ssl.SSLError, OSError) as error:
        detail = f"it does not speak TLS ({getattr(error, 'reason', None) or type(error).__name__})"
    sock.close()
    raise _FailedError("tls", detail)


def speaks_tls(host: str, port: int) -> bool:
    """Whether a server answers a TLS handshake, whatever its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError, _FailedError), reach(host, port, TIMEOUT) as sock:
        context.wrap_socket(sock, server_hostname=host).close()
        return True
    return False


def step_of(host: str, port: int) -> Answer:
    """Why there is no connection to a port; an answer without failure if there is one."""
    try:
        reach(host, port).close()
    except _FailedError as failed:
        return failed.answer
    return Answer()


def _within(timeout: float, call: Callable[[], T]) -> T:
    """What `call` returns; it may block for longer than anybody wants to wait."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]
