"""The values that can be chosen from in a form: those that are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_MOST = 200


def services(connection: sqlite3.Connection) -> list[str]:
    """The services that have sent something."""
    rows = connection.execute("SELECT DISTINCT service FROM resources ORDER BY service LIMIT ?", (_MOST,))
    return [row[0] for row in rows]


def routes(connection: sqlite3.Connection) -> list[str]:
    """The routes of all traces."""
    return _values(connection, "traces", "route")


def loggers(connection: sqlite3.Connection) -> list[str]:
    """The loggers of all log lines."""
    return _values(connection, "logs", "logger")


def _values(connection: sqlite3.Connection, table: str, column: str) -> list[str]:
    # From one value to the next by the index of the column; DISTINCT would read all of it.
    query = f"SELECT min({column}) FROM {table} WHERE {column} > ?"  # noqa: S608  our own words
    found: list[str] = []
    while len(found) < _MOST:
        value = connection.execute(query, (found[-1] if found else "",)).fetchone()[0]
        if value is None:
            break
        found.append(value)
    return found
