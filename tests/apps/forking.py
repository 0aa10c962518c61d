"""A program that forks by itself, at a word on its standard input, and records in parent and children."""

import logging
import os
import sys

from opentelemetry import _logs, metrics, trace

CHILDREN = 4
ROUNDS = 25

logger = logging.getLogger("app")
tracer = trace.get_tracer("app")
counter = metrics.get_meter("app").create_counter("rounds")


def flush() -> None:
    trace.get_tracer_provider().force_flush()
    _logs.get_logger_provider().force_flush()


def work(who: str) -> None:
    for number in range(ROUNDS):
        with tracer.start_as_current_span(f"{who} {number}"):
            logger.info("%s %d", who, number)
        counter.add(1, {"who": who})
        flush()  # each time over the connection, while the others do the same


def main() -> None:
    with tracer.start_as_current_span("before"):
        logger.info("before")
    counter.add(1000, {"who": "before"})
    flush()  # opens the connections
    sys.stdin.readline()
    children = []
    for child in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            work(f"child {child}")
            sys.exit(0)
        children.append(pid)
    work("parent")
    for pid in children:
        os.waitpid(pid, 0)


main()
