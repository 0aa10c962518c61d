"""The span of one run of a helper function (`bulk`, `scan`, …), the parent of all its calls."""

from __future__ import annotations

from typing import Any, Self

from elasticsearch.helpers import BulkIndexError
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode, Tracer

from otel_search import semconv
from otel_search.elasticsearch import faults
from otel_search.elasticsearch.errors import error_type, error_type_of
from otel_search.elasticsearch.facts import PARTIAL, listed
from otel_search.elasticsearch.telemetry import Telemetry

_KEY = otel_context.create_key("otel-search-elasticsearch-helper")
_RELEASE = otel_context.create_key("otel-search-elasticsearch-release")
_ABANDONED = "abandoned"


class _Current:
    """Attaches a context; cheaper than a generator, because it is used for each item."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = otel_context.attach(self._context)

    def __exit__(self, *_: object) -> None:
        otel_context.detach(self._token)


class HelperSpan:
    """A span that is current while the helper works and never while its caller does.

    As a context manager it ends when the helper ends, with the error that ended it.

    Args:
        telemetry: What all calls share.
        tracer: The client's tracer.
        name: `helpers.bulk` and so on.
        collection: The index that the caller named, if one.
        address: Host and port of the client's first node, if known.

    Attributes:
        context: The context of the helper's work.
        sees_items: Whether it is told of each item.
        sees_result: Whether the helper's result has all that failed. If it sees neither, or an error comes in the
            place of a result, failures are taken from the replies, in which a retried item fails more than once.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        tracer: Tracer,
        name: str,
        collection: Any = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        target = ",".join(map(str, collection)) if isinstance(collection, list | tuple) else collection
        operation = telemetry.operation(name, target if isinstance(target, str) else None, address, None)
        self.name = name
        self.telemetry = telemetry
        self.sees_items = self.sees_result = False
        self.span = tracer.start_span(operation.span_name, attributes=operation.attributes)
        self.context: Context = otel_context.set_value(_KEY, self, trace.set_span_in_context(self.span))
        self._ok = self._rows = 0
        self._is_bulk = self._is_scan = False
        self._errors: dict[str, int] = {}
        self._replied: dict[str, int] = {}

    def current(self) -> _Current:
        """A context manager that makes the span current for a piece of the helper's work."""
        return _Current(self.context)

    # -- what came of it -----------------------------------------------------------------------
    def count_reply(self, ok: int, errors: dict[str, int]) -> None:
        """The reply of one bulk request of this helper."""
        self._is_bulk = True
        self._ok += ok
        if not self.sees_items:
            for kind, count in errors.items():
                self._replied[kind] = self._replied.get(kind, 0) + count

    def count_result(self, result: Any) -> None:
        """What the helper returns: for a bulk helper how many items succeeded, and those that failed or their number.

        The number says nothing that the replies have not said.
        """
        if self.sees_result and type(result) is tuple and len(result) == 2 and type(result[1]) is list:
            for item in result[1]:
                self._fail(_kind(item))
            self._replied = {}

    def count_item(self, item: Any) -> None:
        """A result that the helper hands to its caller: a hit, or whether a bulk item succeeded and the item."""
        if type(item) is dict:
            self._is_scan = True
            self._rows += 1
        elif type(item) is tuple and len(item) == 2 and not item[0]:
            self._fail(_kind(item[1]))

    def _fail(self, kind: str, count: int = 1) -> None:
        self._errors[kind] = self._errors.get(kind, 0) + count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """End the span.

        Args:
            error: What ended the helper. `GeneratorExit` is a caller that wanted no more, which is no failure.
        """
        try:
            if self.span.is_recording():
                self._describe(error)
        except Exception:
            faults.report("describing a helper")
        self.span.end()

    def _describe(self, error: BaseException | None) -> None:
        found: dict[str, Any] = {}
        failure = None
        if isinstance(error, GeneratorExit):
            found[semconv.OUTCOME] = _ABANDONED
        elif error is not None:
            failure = error_type(error, self.name)
            if isinstance(error, BulkIndexError) and (self.sees_items or self.sees_result):
                # It holds the items of the last chunk, which were not handed out; those before had no failures.
                self._replied = {}
                for item in error.errors:
                    self._fail(_kind(item))
        for kind, count in self._replied.items():
            self._fail(kind, count)
        failed = sum(self._errors.values())
        if self._is_bulk or failed:
            found[semconv.BULK_OK] = self._ok
            found[semconv.BULK_FAILED] = failed
        if self._is_scan:
            found[semconv.DB_RETURNED_ROWS] = self._rows
        if failed:
            found[semconv.BULK_ERRORS] = listed(self._errors)
            found.setdefault(semconv.OUTCOME, PARTIAL)
            if failure is None and self.telemetry.settings.partial_is_error:
                failure = max(self._errors, key=lambda kind: self._errors[kind])
        if failure is not None:
            found[semconv.ERROR_TYPE] = failure
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.set_attributes(found)


def _kind(item: Any) -> str:
    """The error type of a bulk item as helpers hand it out: `{action: {"error": …, "status": …}}`."""
    result = next(iter(item.values()), None) if isinstance(item, dict) else None
    if not isinstance(result, dict):
        return "unknown"
    raised = result.get("exception")
    if isinstance(raised, BaseException):
        return error_type(raised, "bulk") or "unknown"
    return error_type_of(result.get("error")) or f"status_{result.get('status')}"[:16]


def current_helper(context: Context | None = None) -> HelperSpan | None:
    """The helper that `context`, or the current one, is inside of."""
    found = otel_context.get_value(_KEY, context)
    return found if isinstance(found, HelperSpan) else None


def asks_in_vain(operation: str, context: Context) -> bool:
    """Whether this is `reindex` asking if its target is a data stream, which mostly is none."""
    helper = current_helper(context) if operation == "indices.get_data_stream" else None
    return helper is not None and helper.name.endswith("reindex")


class Borrowed:
    """A helper's context, given back as soon as the bulk request in it has ended.

    The client's own helpers hold it while they hand items to their caller, in whose context it would stay.
    """

    def __init__(self, helper: HelperSpan) -> None:
        self._helper = helper
        self._token: Any = None

    def __enter__(self) -> None:
        self._token = otel_context.attach(otel_context.set_value(_RELEASE, self, self._helper.context))

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the context back, once."""
        token, self._token = self._token, None
        if token is not None:
            otel_context.detach(token)


def release(context: Context) -> None:
    """The bulk request that was made in `context` has ended."""
    borrowed = otel_context.get_value(_RELEASE, context)
    if isinstance(borrowed, Borrowed):
        borrowed.release()
