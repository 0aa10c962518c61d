"""Bulk requests: bounded, compressed, and repeated only for what may succeed the next time."""

from __future__ import annotations

import base64
import binascii
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from otel_search.log_exporter.documents import Action, Target, mended
from otel_search.log_exporter.template import install
from otel_search.settings import Settings

_logger = logging.getLogger("otel_search.log_exporter")

_MAX_BYTES = 1_000_000
_RETRIED = frozenset({429, 502, 503, 504})
_NOT_ALLOWED = frozenset({401, 403})
"""What waits in a spool may wait for another key as well."""
_ATTEMPTS = 6
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_REQUEST_TIMEOUT = 10.0
_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}
# The field in what Elasticsearch and OpenSearch say of a document that they refuse.
_FIELD = re.compile(r"(?:failed to parse field|object mapping for|mapper|field name|[Ff]ield) \[([^\]]+)\]")


class UnavailableError(Exception):
    """The server did not take some documents, and may take them later.

    Args:
        cause: Why.
        actions: The documents.
    """

    def __init__(self, cause: str, actions: list[Action]) -> None:
        super().__init__(f"Elasticsearch did not take {len(actions)} log records: {cause}")
        self.actions = actions


class Bulk:
    """Sends documents to Elasticsearch.

    Args:
        chosen: Where it is, and how to log in.
        target: Where documents go in it.
        refused: Told of each document that is refused for good, and why.
        ended: Set when there is no time left to wait.
    """

    def __init__(
        self, chosen: Settings, target: Target, refused: Callable[[dict[str, Any], str], None], ended: threading.Event
    ) -> None:
        self._transport = _transport(chosen)
        self._target = target
        self._refused = refused
        self._ended = ended
        self._is_installed = not chosen.logs_template
        self._has_spool = bool(chosen.logs_spool)
        self._rests_until = 0.0
        self._failures = 0

    @property
    def rests_for(self) -> float:
        """Seconds that the server is left alone, because it was unavailable a moment ago."""
        return max(0.0, self._rests_until - time.monotonic())

    def rest(self, error: Exception) -> None:
        """Leave the server alone for a while: longer each time."""
        if not self._failures:
            _logger.warning("%s; they wait in the spool", error)
        self._failures += 1
        self._rests_until = time.monotonic() + self._delay(self._failures)

    @staticmethod
    def _delay(failures: int) -> float:
        delay: float = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (failures - 1))
        return delay * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def send(self, actions: list[Action], *, patient: bool = True) -> None:
        """Write documents.

        Args:
            actions: The documents.
            patient: Whether to wait and try again when the server is unavailable.

        Raises:
            UnavailableError: If the server did not take some of them.
        """
        left: list[Action] = []
        cause = ""
        for portion in _portions(actions):
            waiting, attempt = portion, 0
            while waiting:
                attempt += 1
                waiting, said = self._attempt(waiting)
                cause = said or cause
                last = not patient or attempt >= _ATTEMPTS or bool(left)
                if waiting and (last or self._ended.wait(self._delay(attempt))):
                    break
            left += waiting
        if left:
            raise UnavailableError(cause, left)
        self._failures = 0

    def send_spooled(self, body: bytes) -> int:
        """Write the documents of a bulk request's body that was kept.

        Returns:
            How many there are.

        Raises:
            UnavailableError: If the server did not take some of them.
            ValueError: If it is no such body.
        """
        lines = body.splitlines()
        found = []
        for head, document in zip(lines[::2], lines[1::2], strict=True):
            create = orjson.loads(head)["create"]
            found.append(Action(create["_index"], create["_id"], document))
        self.send(found, patient=False)
        return len(found)

    def _attempt(self, actions: list[Action]) -> tuple[list[Action], str]:
        """One request, and one more for what is mended; the documents to send again, and why."""
        import elastic_transport

        if not self._is_installed:
            self._is_installed = install(self._perform, self._target)
        try:
            status, answer = self._perform("POST", "/_bulk", b"".join(action.lines for action in actions))
        except elastic_transport.TransportError as error:
            # Its text names only what earlier attempts have said.
            return actions, f"{type(error).__name__}: {error.message}"[:300]
        if status in _RETRIED or (status in _NOT_ALLOWED and self._has_spool):
            return actions, f"status {status}"
        if status == 413 and len(actions) > 1:
            half = len(actions) // 2
            first, said = self._attempt(actions[:half])
            second, said_too = self._attempt(actions[half:])
            return first + second, said or said_too
        if status >= 300 or not isinstance(answer, dict):
            for action in actions:
                self._refused(orjson.loads(action.document), f"status {status}: {answer}"[:500])
            return [], ""
        items = answer.get("items", ())
        if len(items) != len(actions):
            return actions, f"an answer with {len(items)} items for {len(actions)} documents"
        again, mend, cause = [], [], ""
        for action, item in zip(actions, items, strict=True):
            outcome = next(iter(item.values()))
            code = outcome.get("status", 500)
            if code < 300 or code == 409:  # it is there already, from an attempt whose answer was lost
                continue
            refusal = outcome.get("error") or {}
            causes = (refusal.get("type"), refusal.get("reason"), (refusal.get("caused_by") or {}).get("reason"))
            said = ": ".join(str(part) for part in causes if part)
            if code in _RETRIED:
                again.append(action)
                cause = said
            elif code == 400 and not action.mended:
                field = _FIELD.search(said)
                mend.append(mended(action, field[1] if field else None))
            else:
                self._refused(orjson.loads(action.document), said)
        if mend:
            more, said = self._attempt(mend)
            again, cause = again + more, cause or said
        return again, cause

    def _perform(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self._transport.perform_request(method, path, body=body, headers=_HEADERS, max_retries=0)
        return answer.meta.status, answer.body


def _portions(actions: list[Action]) -> Iterable[list[Action]]:
    portion: list[Action] = []
    size = 0
    for action in actions:
        if portion and size + len(action.document) > _MAX_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(action)
        size += len(action.document)
    if portion:
        yield portion


def _transport(chosen: Settings) -> Any:
    try:
        import elastic_transport
        from elastic_transport.client_utils import basic_auth_to_header, url_to_node_config
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'otel-search[elasticsearch]'") from error
    urls = [_cloud_url(chosen.logs_elasticsearch_cloud_id)] if chosen.logs_elasticsearch_cloud_id else []
    headers = {}
    if chosen.logs_elasticsearch_api_key:
        headers["authorization"] = f"ApiKey {chosen.logs_elasticsearch_api_key}"
    elif chosen.logs_elasticsearch_username:
        user = (chosen.logs_elasticsearch_username, chosen.logs_elasticsearch_password)
        headers["authorization"] = basic_auth_to_header(user)
    nodes = []
    for url in urls or chosen.logs_elasticsearch_url:
        node = url_to_node_config(url, use_default_ports_for_scheme=True)
        node = node.replace(headers={**node.headers, **headers}, http_compress=True, request_timeout=_REQUEST_TIMEOUT)
        if chosen.logs_elasticsearch_ca_certs and node.scheme == "https":
            node = node.replace(ca_certs=chosen.logs_elasticsearch_ca_certs)
        nodes.append(node)
    return elastic_transport.Transport(nodes, retry_on_status=(), meta_header=False)


def _cloud_url(cloud_id: str) -> str:
    """The URL in a cloud id, `name:base64(domain$elasticsearch-id$kibana-id)`."""
    try:
        domain, found, *_ = base64.b64decode(cloud_id.rpartition(":")[2], validate=True).decode().split("$")
    except (binascii.Error, ValueError):
        name = cloud_id.rpartition(":")[0]  # the rest is nobody's business
        raise ValueError(
            f"OTEL_SEARCH_LOGS_ELASTICSEARCH_CLOUD_ID='{name}:…' is not accepted; accepted: name:base64"
        ) from None
    return f"https://{found}.{domain}" if ":" in domain else f"https://{found}.{domain}:443"
