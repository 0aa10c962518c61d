"""Programs that a service starts: they inherit the launcher, and must go on writing what they wrote before.

Whoever reads their output, the service or a shell, knows nothing of us. A server's own workers and
reloaded children, and servers that a supervisor starts, are no such programs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import PurePath

_VARIABLE = "_OTEL_SEARCH_PROCESS"
"""The process that was launched. Its descendants inherit it."""

_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "fastapi", "granian", "daphne"})
_LAUNCHER = "opentelemetry-instrument"
# How `multiprocessing` starts processes of the same application.
_WORKER = re.compile(r"from multiprocessing\.(spawn|forkserver|resource_tracker) import ")


def is_started_by_a_service(environ: MutableMapping[str, str]) -> bool:
    """Whether this process is a program that an instrumented one has started, and no server as far as one can tell.

    Args:
        environ: The environment, in which this process leaves its mark.
    """
    own = str(os.getpid())
    first = environ.setdefault(_VARIABLE, own)
    if first == own:
        return False
    program = _program(sys.orig_argv)
    if program in _SERVERS or program.startswith(_LAUNCHER):
        environ[_VARIABLE] = own
        return False
    return _WORKER.match(program) is None


def _program(arguments: Sequence[str]) -> str:
    """What Python was told to run: the name of a module or file, or the code itself."""
    rest = iter(arguments[1:])
    for argument in rest:
        if argument in ("-m", "-c"):
            return next(rest, "")
        if argument in ("-X", "-W"):
            next(rest, "")
        elif not argument.startswith("-"):
            return PurePath(argument).stem
    return ""
