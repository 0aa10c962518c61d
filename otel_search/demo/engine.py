"""The embedded search engine: osmem-server, which keeps everything in memory.

It speaks the OpenSearch API. Elasticsearch's clients say two things that it does not understand;
`EmbeddedNode` translates them, and is all that a client needs.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
from elastic_transport import AiohttpHttpNode, HttpHeaders
from elastic_transport.client_utils import DEFAULT, DefaultType

if TYPE_CHECKING:
    from elastic_transport._node._base import NodeApiResponse

    from otel_search.processes import Processes

NODE_CLASS = f"{__name__}:EmbeddedNode"
"""The value for the service's `ELASTICSEARCH_NODE_CLASS`."""

_VENDOR_TYPE = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=\d+", re.IGNORECASE)


class EngineError(RuntimeError):
    """The embedded engine cannot be started; the message says why and what to do."""


class EmbeddedNode(AiohttpHttpNode):
    """The client's HTTP node for the embedded engine.

    It asks for plain JSON instead of Elasticsearch's vendor media type, and leaves out
    `_source.exclude_vectors`, which the DSL sends from 9.1 on.
    """

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> NodeApiResponse:
        """Send a request, translated."""
        plain = HttpHeaders(
            {name: _VENDOR_TYPE.sub(r"application/\1", value) for name, value in (headers or {}).items()}
        )
        if body and b'"exclude_vectors"' in body:
            body = b"\n".join(without_exclude_vectors(line) for line in body.split(b"\n"))
        return await super().perform_request(method, target, body, plain, request_timeout)


def without_exclude_vectors(line: bytes) -> bytes:
    """One JSON document, without the member `exclude_vectors` of its `_source`."""
    if b'"exclude_vectors"' not in line:
        return line
    document = json.loads(line)
    source = document.get("_source") if isinstance(document, dict) else None
    if not isinstance(source, dict) or source.pop("exclude_vectors", None) is None:
        return line  # a document that has the words in a field of its own
    if not source:
        del document["_source"]
    return json.dumps(document).encode()


def start_engine(processes: Processes, environ: Mapping[str, str], timeout: float = 20.0) -> str:
    """Start the embedded engine on a free port of loopback and wait until it answers.

    Args:
        processes: Who starts it, and ends it.
        environ: Its environment; `OSMEM_SERVER_BIN` may name another binary.
        timeout: How long it may take to answer, in seconds.

    Returns:
        Its URL.

    Raises:
        EngineError: If it is not installed, cannot be started or does not answer in time.
    """
    try:
        from osmem_server import OsmemError, resolve_binary
    except ImportError as error:
        raise EngineError(f"the embedded engine is not installed ({error}): pip install 'otel-search[demo]'") from error
    try:
        command = [
            resolve_binary(environ.get("OSMEM_SERVER_BIN")),
            *("-addr", "127.0.0.1:0"),
            *("-parent-pid", str(os.getpid())),  # ends with us, even if we are killed
            "-no-stdin-watch",
            "-no-ja",  # the Japanese dictionary takes a second to load
        ]
        process = processes.start("engine", command, environ)
    except (OSError, OsmemError) as error:
        raise EngineError(f"the embedded engine cannot be started: {error}") from error
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise EngineError(
                f"the embedded engine ended with status {process.popen.returncode} before it answered; "
                f"its last words: {process.last_lines(3) or 'none'}"
            )
        url = _announced_url(process.output.read_text(errors="replace"))
        if url and _answers(url):
            return url
        time.sleep(0.02)
    raise EngineError(f"the embedded engine did not answer in {timeout:.0f} s")


def _announced_url(output: str) -> str | None:
    # The engine writes one JSON object with its URL when it listens.
    for line in output.splitlines():
        try:
            announced: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(announced, dict) and isinstance(announced.get("url"), str):
            return str(announced["url"])
    return None


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False
