"""Logs: the newest lines, as they come, by level, logger, text and trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from otel_search.viewer.page import choices, parameters
from otel_search.viewer.page.rendering import render, shown

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

LOG_COLUMNS = "id, time, trace_id, span_id, severity, level, logger, body, attributes"

_MOST = 200
_MOST_MATCHES = 5_000
_MOST_LOOKED_AT = 200_000
_LEVELS = {"debug": 5, "info": 9, "warning": 13, "error": 17}
# What every line has, and what its own columns say.
_SAID_ELSEWHERE = frozenset(
    {
        "request_id",
        "trace_id",
        "span_id",
        "trace_flags",
        "client.address",
        "db.system.name",
        "server.address",
        "server.port",
    }
)


class Line(NamedTuple):
    """A log line on the page.

    Attributes:
        row: As it is stored.
        level: One of the words that are styled.
        attributes: All of them, as text.
        brief: Those that its one line has room for.
    """

    row: sqlite3.Row
    level: str
    attributes: Mapping[str, Any]
    brief: list[tuple[str, str]]


def lines_of(rows: Iterable[sqlite3.Row]) -> list[Line]:
    """Stored log records as lines."""
    return [_line(row) for row in rows]


def _line(row: sqlite3.Row) -> Line:
    attributes = orjson.loads(row["attributes"])
    severity = row["severity"]
    level = "error" if severity >= 17 else "warning" if severity >= 13 else "info" if severity >= 9 else "debug"
    brief = [(name, shown(value)[:120]) for name, value in attributes.items() if name not in _SAID_ELSEWHERE]
    return Line(row, level, attributes, brief[:12])


def page(request: Request) -> Response:
    """The view."""
    asked = _asked(request)
    with request.app.state.store.snapshot() as connection:
        rows = _find(connection, asked)
        loggers, services = choices.loggers(connection), choices.services(connection)
    return render(
        request,
        "logs.html",
        lines=lines_of(rows[:_MOST]),
        newest=rows[0]["id"] if rows else 0,
        more=rows[_MOST - 1]["id"] if len(rows) > _MOST else None,
        loggers=loggers,
        services=services,
        levels=_LEVELS,
        asked=asked,
        parameters=asked | {"before": None, "after": None},
    )


def tail(request: Request) -> Response:
    """The lines that have come after one, for a page that is open."""
    asked = _asked(request)
    after = asked["after"] or 0
    with request.app.state.store.snapshot() as connection:
        # Asked about again after everything was cleared, ids begin anew: then all of them are new.
        newest = connection.execute("SELECT coalesce(max(id), 0) FROM logs").fetchone()[0]
        rows = _find(connection, asked if newest >= after else asked | {"after": 0})[:_MOST]
    return render(
        request,
        "logs_tail.html",
        lines=lines_of(rows),
        newest=newest,
        parameters=asked | {"before": None, "after": None},
    )


def _asked(request: Request) -> dict[str, Any]:
    return {
        "q": parameters.text(request, "q"),
        "level": parameters.choice(request, "level", _LEVELS),
        "logger": parameters.text(request, "logger"),
        "service": parameters.text(request, "service"),
        "trace": parameters.text(request, "trace").lower(),
        "before": parameters.whole_number(request, "before"),
        "after": parameters.whole_number(request, "after"),
    }


def _find(connection: sqlite3.Connection, asked: dict[str, Any]) -> list[sqlite3.Row]:
    conditions: list[str] = []
    values: dict[str, Any] = {"most": _MOST + 1, "matches": _MOST_MATCHES}
    if asked["q"]:
        values["match"] = parameters.match_of(asked["q"])
        if not values["match"]:
            return []
        conditions.append(
            "id IN (SELECT rowid FROM log_words WHERE log_words MATCH :match ORDER BY rowid DESC LIMIT :matches)"
        )
    if asked["trace"]:
        values["trace"] = asked["trace"]
        conditions.append("trace_id = :trace AND trace_id != ''")
    if asked["level"]:
        # Written out: SQLite knows by it that the index of warnings, or of errors, has them all.
        conditions.append(f"severity >= {_LEVELS[asked['level']]}")
    if asked["logger"]:
        values["logger"] = asked["logger"]
        conditions.append("logger = :logger")
    if asked["service"]:
        values["service"] = asked["service"]
        values["newest"] = _MOST_LOOKED_AT
        # No index has lines by service: only so many of the newest are looked at.
        conditions.append(
            "resource IN (SELECT id FROM resources WHERE service = :service)"
            " AND id > (SELECT max(id) FROM logs) - :newest"
        )
    for name, sign in (("before", "<"), ("after", ">")):
        if asked[name]:
            values[name] = asked[name]
            conditions.append(f"id {sign} :{name}")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"SELECT {LOG_COLUMNS} FROM logs {where} ORDER BY id DESC LIMIT :most"  # noqa: S608  our own words
    return connection.execute(query, values).fetchall()
