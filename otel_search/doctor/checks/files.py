"""Files and directories that telemetry is written to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from otel_search.doctor.case import Case
from otel_search.doctor.finding import Severity, check


@check(
    "log-file-unwritable",
    Severity.ERROR,
    "The log file cannot be written",
    "correct OTEL_SEARCH_LOG_FILE, or the permissions of the file and its directory",
)
def log_file_unwritable(case: Case) -> Iterator[str]:
    """The file, and its directory: rotation makes new ones."""
    yield from _unwritable("OTEL_SEARCH_LOG_FILE", case.settings.log_file)


@check(
    "failure-file-unwritable",
    Severity.WARNING,
    "The file for refused log records cannot be written",
    "correct OTEL_SEARCH_LOGS_FAILURE_FILE, or the permissions of the file and its directory",
)
def failure_file_unwritable(case: Case) -> Iterator[str]:
    """As the log file."""
    yield from _unwritable("OTEL_SEARCH_LOGS_FAILURE_FILE", case.settings.logs_failure_file)


@check(
    "spool-unwritable",
    Severity.WARNING,
    "The directory for log records that wait cannot be written",
    "correct OTEL_SEARCH_LOGS_SPOOL, or the directory's permissions",
)
def spool_unwritable(case: Case) -> Iterator[str]:
    """It is made if it is not there."""
    if case.settings.logs_spool:
        directory = Path(case.settings.logs_spool)
        reason = _directory_fault(directory if directory.exists() else directory.parent)
        if reason:
            yield f"OTEL_SEARCH_LOGS_SPOOL={directory}: {reason}"


def _unwritable(variable: str, text: str) -> Iterator[str]:
    if not text:
        return
    path = Path(text).absolute()
    reason = _directory_fault(path.parent)
    if not reason and path.is_dir():
        reason = "it is a directory"
    if not reason and path.exists() and not os.access(path, os.W_OK):
        reason = "Permission denied"
    if reason:
        yield f"{variable}={text}: {reason}"


def _directory_fault(directory: Path) -> str:
    """Why no file can be made in a directory; tried, because permissions are not all that forbids it."""
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    return ""
