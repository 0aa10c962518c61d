"""Callers: which user and which session a request comes from, on its spans, its log lines and for the KPIs.

An application says so itself (`identify`), by a hook that knows its tokens (`identify_by`), or names
headers and cookies in settings. Whoever can send a header can say that they are somebody else: what is
told here is for looking at traffic, and decides on nothing. Users and sessions are never an attribute
of a metric: each would be a series of its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from opentelemetry import trace

from otel_search import semconv, settings
from otel_search.callers.pseudonyms import Pseudonyms
from otel_search.callers.spans import describe_spans
from otel_search.context import CALLER, Caller, is_id
from otel_search.redaction import redactor_of
from otel_search.settings import Settings

__all__ = ["Callers", "current", "identify", "identify_by"]

_logger = logging.getLogger("otel_search.callers")

Scope = MutableMapping[str, Any]
Hook = Callable[[Scope], str | Mapping[str, Any] | None]
H = TypeVar("H", bound=Callable[..., Any])

_NAMES = {"user": semconv.ENDUSER_PSEUDO_ID, "session": semconv.SESSION_ID}


def identify(*, user_id: object = None, session_id: object = None) -> None:
    """Say who the request that is being served comes from; never raises.

    From here on its spans and log lines carry `enduser.pseudo.id` and `session.id`, the server span and the
    access line too, and the KPIs count the user and the session. What cannot be used is left out.

    Args:
        user_id: The user's id, any text or number; `None` and an empty one change nothing.
        session_id: The session's id, likewise.
    """
    try:
        caller = CALLER.get()
        if caller is None:  # outside of a request: a job, a message
            caller = Caller()
            CALLER.set(caller)
        current().name(caller, user=user_id, session=session_id)
    except Exception as error:
        _say_once("identify", error)


def identify_by(hook: H) -> H:
    """Let a function say who a request comes from, given its ASGI scope: from the subject of its token, mostly.

    It is asked when the request arrives, and once more when the response begins if it knew nobody: then the
    application's own middleware has put `user` into the scope. It returns a user id, or a mapping with `user_id`
    and `session_id`, or `None`. An exception is said once, and the request is served as ever.

    Args:
        hook: The function, which must not wait for anything; the one given last counts.

    Raises:
        ValueError: It is a coroutine function.
    """
    if inspect.iscoroutinefunction(hook):
        raise ValueError("identify_by: a coroutine function is not accepted; accepted: a function of the ASGI scope")
    current().hook = hook
    return hook


class Callers:
    """Finds out who requests come from.

    Args:
        effective: The settings.

    Attributes:
        hook: The application's own way to tell, or `None`.
    """

    def __init__(self, effective: Settings) -> None:
        self.hook: Hook | None = None
        self._raw = effective.caller_ids == "raw"
        self._pseudonyms = Pseudonyms(effective.pseudonym_key)
        secret = redactor_of(effective).field
        # What a cookie or a credential holds lets its holder in: nobody who reads telemetry may have it.
        self._sources = [
            (kind, name.encode(), _cookie, True)
            if place == "cookie"
            else (kind, name.lower().encode(), _header, secret(name) is not None)
            for kind, place, name in effective.callers
        ]

    def arrived(self, scope: Scope, headers: Mapping[bytes, bytes], caller: Caller) -> None:
        """A request has arrived; never raises.

        Args:
            scope: Of the request.
            headers: By name; of a repeated one, the last.
            caller: To be named.
        """
        try:
            for kind, name, read, secret in self._sources:
                value = read(scope, headers, name)
                if value:
                    self._name(caller, kind, value, secret=secret)
        except Exception as error:
            _say_once("headers", error)
        self._ask(scope, caller)

    def responding(self, scope: Scope, caller: Caller) -> None:
        """The response begins; never raises."""
        if self.hook is not None and semconv.ENDUSER_PSEUDO_ID not in caller.attributes:
            self._ask(scope, caller)

    def name(self, caller: Caller, **found: object) -> None:
        """Name a caller by ids that the application gives.

        Args:
            caller: To be named.
            **found: `user` and `session`; `None` for what is not said.
        """
        for kind, value in found.items():
            if value is not None:
                self._name(caller, kind, value if isinstance(value, str) else str(value), secret=False)

    def _ask(self, scope: Scope, caller: Caller) -> None:
        if self.hook is None:
            return
        try:
            found = self.hook(scope)
            if found is None:
                return
            if not isinstance(found, Mapping):
                found = {"user_id": found}
            self.name(caller, user=found.get("user_id"), session=found.get("session_id"))
        except Exception as error:
            _say_once("hook", error)

    def _name(self, caller: Caller, kind: str, value: str, *, secret: bool) -> None:
        key = _NAMES[kind]
        told = self._pseudonyms.of(kind, value) if secret or not self._raw else value if is_id(value) else None
        if told is None or caller.attributes.get(key) == told:
            return
        caller.attributes = {**caller.attributes, key: told}
        describe_spans()
        for span in {caller.span, trace.get_current_span()} - {None}:
            if span.is_recording():
                span.set_attribute(key, told)


def _header(scope: Scope, headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    # Two of them: one is the proxy's, and nobody knows which.
    if value is None or sum(1 for each, _ in scope["headers"] if each == name) != 1:
        return None
    return value.decode("latin-1").strip()


def _cookie(scope: Scope, headers: Mapping[bytes, bytes], name: bytes) -> str | None:  # noqa: ARG001 - as `_header`
    for part in headers.get(b"cookie", b"").split(b";"):
        key, _, value = part.strip().partition(b"=")
        if key == name:
            return value.strip(b'"').decode("latin-1")
    return None


@functools.cache
def current() -> Callers:
    """The callers of this process, by its settings."""
    return Callers(settings.current())


@functools.lru_cache(maxsize=64)
def _say(where: str, kind: str) -> None:
    _logger.warning("who a request comes from cannot be told: %s failed with %s", where, kind)


def _say_once(where: str, error: Exception) -> None:
    _say(where, type(error).__name__)
