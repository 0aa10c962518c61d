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


@check(
    "alert-state-unwritable",
    Severity.WARNING,
    "The file with what is known of alerts cannot be written",
    "correct OTEL_SEARCH_ALERTS_STATE, or the permissions of the file and its directory",
)
def alert_state_unwritable(case: Case) -> Iterator[str]:
    """Without it, alerts begin anew with each start."""
    yield from _unwritable("OTEL_SEARCH_ALERTS_STATE", case.settings.alerts_state)


@check(
    "file-unreadable",
    Severity.WARNING,
    "A file that a variable names cannot be read",
    "correct the variable, or the file's permissions",
)
def file_unreadable(case: Case) -> Iterator[str]:
    """Rules, passwords and certificate authorities."""
    settings = case.settings
    files = {
        "OTEL_SEARCH_ALERTS_RULES": settings.alerts_rules,
        "OTEL_SEARCH_ALERTS_SMTP_PASSWORD_FILE": settings.alerts_smtp_password_file,
        "OTEL_SEARCH_ALERTS_SMTP_CA_CERTS": settings.alerts_smtp_ca_certs,
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_CA_CERTS": settings.logs_elasticsearch_ca_certs,
    }
    for variable, text in files.items():
        try:
            if text:
                Path(text).read_bytes()
        except OSError as error:
            yield f"{variable}={text}: {error.strerror}"


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
