"""The transport's own log lines, as far as our spans and lines say the same."""

from __future__ import annotations

import logging
from collections.abc import Callable

from otel_search.elasticsearch.call import CURRENT

_TRANSPORT = "elastic_transport"
_LOGGERS = ("elastic_transport.transport", "elastic_transport.node_pool")


def quieten() -> Callable[[], None]:
    """Keep lines of elastic_transport out of the logs: one for each call, with its whole URL, and retries.

    A failed attempt makes up to three warnings there, one with a traceback; here it is an event of the
    call's span, a metric, and a field of the call's one line. If the user has set a level for one of
    these loggers, they want to see it or have seen to it: nothing is changed.

    Returns:
        What undoes it.
    """
    loggers = [logging.getLogger(name) for name in (_TRANSPORT, *_LOGGERS)]
    if any(logger.level != logging.NOTSET for logger in loggers):
        return lambda: None
    loggers[0].setLevel(logging.WARNING)
    for logger in loggers[1:]:
        logger.addFilter(_outside_of_calls)

    def undo() -> None:
        if loggers[0].level == logging.WARNING:
            loggers[0].setLevel(logging.NOTSET)
        for logger in loggers[1:]:
            logger.removeFilter(_outside_of_calls)

    return undo


def _outside_of_calls(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING or CURRENT.get() is None
