"""loguru beside the chain: whatever is done with its handlers, each event is one record, and nothing breaks."""

from __future__ import annotations

import copy
import io
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_search import logs
from otel_search.redaction import marker

from .conftest import Chain

loguru = pytest.importorskip("loguru", reason="loguru is not installed")


@pytest.fixture
def written(chain: Chain) -> Iterator[io.StringIO]:
    """What loguru writes, in place of its usual handler."""
    out = io.StringIO()
    loguru.logger.remove()
    loguru.logger.add(out, format="{level} {message}")
    yield out
    loguru.logger.remove()
    loguru.logger._core.patcher = None


def bodies(chain: Chain) -> list[Any]:
    return [record.body for record in chain.records()]


def test_handlers_that_come_and_go_change_nothing(chain: Chain, written: io.StringIO) -> None:
    loguru.logger.info("one")
    loguru.logger.remove()
    loguru.logger.info("nobody listens")
    number = loguru.logger.add(written, format="{message}", level="WARNING")
    loguru.logger.info("too little")
    loguru.logger.warning("two")
    second = loguru.logger.add(
        written, format="{message}", level="DEBUG", filter=lambda record: "no" not in record["message"]
    )
    loguru.logger.debug("three")
    loguru.logger.debug("no")
    loguru.logger.remove(second)
    loguru.logger.debug("too little again")
    loguru.logger.remove(number)
    with pytest.raises(ValueError):
        loguru.logger.remove(number)
    assert bodies(chain) == ["one", "two", "three"]
    assert written.getvalue() == "INFO one\ntwo\nthree\n"
    assert chain.lines() == []


def test_level_fields_and_exception_arrive(chain: Chain, written: io.StringIO) -> None:
    try:
        raise KeyError("sku")
    except KeyError:
        loguru.logger.bind(sku="A1").exception("lookup {} failed", 7)
    record = chain.record()
    assert (record.body, record.severity_text, record.attributes["sku"]) == ("lookup 7 failed", "ERROR", "A1")
    assert record.attributes["exception.type"] == "KeyError"
    assert "KeyError: 'sku'" in record.attributes["exception.stacktrace"]


def test_a_patcher_of_the_application_still_patches(chain: Chain, written: io.StringIO) -> None:
    loguru.logger.configure(patcher=lambda record: record["extra"].update(region="eu"))
    loguru.logger.info("patched")
    assert chain.record().attributes["region"] == "eu"


def test_secrets_are_hidden_in_the_record(chain: Chain, written: io.StringIO) -> None:
    loguru.logger.bind(password="hunter2").info("login token=hunter3")
    assert "hunter" not in str(chain.record())


def test_an_intercepting_handler_drops_what_loguru_drops(chain: Chain, written: io.StringIO) -> None:
    class InterceptHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            loguru.logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())

    logging.getLogger("telling").setLevel(logging.DEBUG)
    logging.getLogger("telling").addHandler(InterceptHandler())
    loguru.logger.remove()
    loguru.logger.add(written, format="{message}", level="INFO")
    logging.getLogger("telling").debug("too little")
    logging.getLogger("telling").info("intercepted")
    logging.getLogger("telling").setLevel(logging.NOTSET)
    assert written.getvalue() == "intercepted\n"
    assert chain.lines() == []
    assert bodies(chain) == ["intercepted"]


def test_a_copy_of_the_logger_is_heard_too(chain: Chain, written: io.StringIO) -> None:
    # https://loguru.readthedocs.io/en/stable/resources/recipes.html#creating-independent-loggers-with-separate-set-of-handlers
    loguru.logger.remove()
    mine, memory = copy.deepcopy(loguru.logger), io.StringIO()
    mine.add(memory, format="{message}")
    mine.add(sys.stdout, format="{message}", level="WARNING")
    loguru.logger.add(written, format="{message}")
    mine.info("for one")
    mine.warning("token=hunter2")
    loguru.logger.info("for the other")
    assert bodies(chain) == ["for one", f"token={marker('token')}", "for the other"]
    assert memory.getvalue() == "for one\ntoken=hunter2\n"
    assert written.getvalue() == "for the other\n"
    assert chain.capsys.readouterr().out == f"token={marker('token')}\n"
    logs.uninstall()
    mine.info("and nobody else")
    assert bodies(chain) == []
    assert {number: type(each._sink).__module__ for number, each in mine._core.handlers.items()} == dict.fromkeys(
        mine._core.handlers, "loguru._simple_sinks"
    )
    assert mine._core.patcher is None
    mine.remove()


def in_another_process(logger: Any) -> None:
    logger.bind(sku="A1").info("from another process")
    logger.complete()


def test_a_logger_goes_to_other_processes_as_loguru_says(chain: Chain, written: io.StringIO, tmp_path: Path) -> None:
    # https://loguru.readthedocs.io/en/stable/resources/recipes.html#compatibility-with-multiprocessing-using-enqueue-argument
    spawning = multiprocessing.get_context("spawn")
    loguru.logger.remove()
    loguru.logger.add(tmp_path / "app.log", format="{message} {extra[sku]}", enqueue=True, context=spawning)
    loguru.logger.bind(sku="A0").info("from this one")
    child = spawning.Process(target=in_another_process, args=(loguru.logger,))
    child.start()
    child.join()
    loguru.logger.complete()
    assert child.exitcode == 0
    assert (tmp_path / "app.log").read_text() == "from this one A0\nfrom another process A1\n"
    assert bodies(chain) == ["from this one"]


def test_the_console_opened_as_a_file_gets_no_secret() -> None:
    program = """
from loguru import logger
from otel_search import logs
from otel_search.settings import Settings
logs.install(Settings(log_format="json"), "catalogue")
logger.remove()
logger.add("/dev/stdout", format="{message}")
logger.warning("token=hunter2")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"token={marker('token')}\n"
