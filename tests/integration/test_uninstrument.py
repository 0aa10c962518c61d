"""`uninstrument(app)` leaves logging as it was; in a process of its own, which nobody else has touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.service import APPS

PROGRAM = """
import json, logging, logging.config, sys, threading, warnings

import structlog
from fastapi import FastAPI
from loguru import logger as loguru

logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "PLAIN %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "level": "INFO"}},
    "loggers": {"quiet": {"propagate": False, "level": "ERROR", "handlers": ["console"]}},
    "root": {"handlers": ["console"]},
})
structlog.configure(processors=[structlog.processors.KeyValueRenderer(["event"])], cache_logger_on_first_use=True)
cached = structlog.get_logger("cached")
cached.info("bound before")
loguru.configure(handlers=[{"sink": sys.stderr, "format": "LOGURU {message} {extra}"}], patcher=lambda record: None)


def own_hook(*args):
    sys.__excepthook__(*args)


sys.excepthook = own_hook


def state():
    core = loguru._core
    loggers = [logging.getLogger(), logging.getLogger("quiet"), logging.getLogger("shop")]
    return {
        "loggers": [(each.level, each.propagate, each.handlers[:], each.filters[:], each.disabled) for each in loggers],
        "levels": [handler.level for each in loggers for handler in each.handlers],
        "callHandlers": logging.Logger.callHandlers,
        "factory": logging.getLogRecordFactory(),
        "class": logging.getLoggerClass(),
        "warnings": (warnings.showwarning, logging._warnings_showwarning),
        "hooks": (sys.excepthook, threading.excepthook),
        "structlog": structlog.get_config(),
        "proxy": structlog.BoundLoggerBase._proxy_to_logger,
        "filtering": dict(vars(structlog.make_filtering_bound_logger(20))),
        "factories": structlog.PrintLoggerFactory.__call__,
        "loguru": ([handler for handler in core.handlers], core.min_level, core.patcher, type(loguru).add),
        "thread": (threading.Thread.start,),
    }


def say():
    logging.getLogger("shop").warning("from logging")
    cached.info("from structlog")
    loguru.info("from loguru")


from otel_search import instrument, logs, uninstrument

app = FastAPI()
before = state()
say()
instrument(app)
logs.levels().apply({"shop": (10, 9e9)})
during = state()
say()
uninstrument(app)
after = state()
say()
instrument(app)
say()
uninstrument(app)
again = state()
print(json.dumps({
    "changed": [name for name in before if before[name] != during[name]],
    "left": [name for name in before if before[name] != after[name] or before[name] != again[name]],
}))
"""


def test_uninstrument_leaves_logging_as_it_was_and_instrument_takes_it_again() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))}
    env |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, cwd=APPS, capture_output=True, text=True, timeout=60, check=True
    )
    *lines, result = done.stdout.splitlines()
    found = json.loads(result)
    assert found["left"] == []
    assert {"callHandlers", "warnings", "hooks", "proxy", "loguru", "filtering"} <= set(found["changed"])
    plain = [line for line in lines if not line.startswith("{")]
    ours = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert plain == ["event='bound before'", *["event='from structlog'"] * 2]
    assert [event for event in ours if event.startswith("from")] == ["from logging", "from structlog"] * 2
    assert [line for line in done.stderr.splitlines() if line] == [
        "PLAIN from logging",
        "LOGURU from loguru {}",
        "LOGURU from loguru {}",
        "PLAIN from logging",
        "LOGURU from loguru {}",
        "LOGURU from loguru {}",
    ]
