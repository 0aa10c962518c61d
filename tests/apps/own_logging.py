"""Applications that have configured logging themselves, each in another way: OWN_LOGGING says which."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from typing import Any

from fastapi import FastAPI

HOW = os.environ.get("OWN_LOGGING", "")
FILE = os.environ.get("OWN_FILE", os.devnull)

app = FastAPI()


def _dict_config(formatter: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"own": formatter},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "own"},
            "file": {"class": "logging.FileHandler", "filename": FILE, "formatter": "own"},
        },
        "root": {"handlers": ["console", "file"], "level": "INFO"},
    }


if HOW == "structlog":
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
elif HOW == "structlog-stdlib":
    import structlog

    shared: list[Any] = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso")]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    logging.config.dictConfig(
        _dict_config(
            {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
                "foreign_pre_chain": shared,
            }
        )
    )
elif HOW == "dictConfig":
    logging.config.dictConfig(_dict_config({"format": "PLAIN %(levelname)s %(message)s"}))
elif HOW == "json-logger":
    logging.config.dictConfig(
        _dict_config({"()": "pythonjsonlogger.json.JsonFormatter", "format": "%(levelname)s %(name)s %(message)s"})
    )
elif HOW == "correlation":
    logging.config.dictConfig(_dict_config({"format": "PLAIN %(otelTraceID)s %(otelServiceName)s %(message)s"}))
elif HOW.startswith("loguru"):
    from loguru import logger

    if HOW == "loguru-configure":
        logger.configure(handlers=[{"sink": sys.stdout, "serialize": True}], patcher=lambda record: None)
    else:
        logger.remove()
        logger.add(sys.stdout, serialize=True)
        logger.add(FILE, format="{message} {extra[trace_id]}", filter=lambda record: "trace_id" in record["extra"])
    if HOW == "loguru-intercept":

        class InterceptHandler(logging.Handler):
            """As in loguru's documentation."""

            def emit(self, record: logging.LogRecord) -> None:
                logger.opt(depth=6, exception=record.exc_info).log(record.levelname, record.getMessage())

        logging.basicConfig(handlers=[InterceptHandler()], level=0, force=True)
    if HOW == "loguru-propagate":

        class PropagateHandler(logging.Handler):
            """As in loguru's documentation."""

            def emit(self, record: logging.LogRecord) -> None:
                logging.getLogger(record.name).handle(record)

        logger.remove()
        logger.add(PropagateHandler(), format="{message}")


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/log")
async def log() -> str:
    if HOW in ("structlog", "structlog-stdlib"):
        import structlog

        structlog.get_logger("shop").info("an event", sku="A1")
        structlog.get_logger("shop").debug("too much")
    elif HOW.startswith("loguru"):
        from loguru import logger

        if HOW != "loguru-intercept":
            logger.bind(sku="A1").info("an event")
    if HOW in ("dictConfig", "json-logger", "correlation", "", "loguru-intercept", "gunicorn"):
        logging.getLogger("shop").info("an event", extra={"sku": "A1"})
    return "ok"


@app.get("/secret")
async def secret() -> str:
    fields: dict[str, Any] = {"sku": "A1", "pin": {"db_password": ["M4rk3r"], "card": 4111111111111111}}
    try:
        raise ValueError("no such key: token=M4rk3r")
    except ValueError:
        if HOW.startswith("loguru") and HOW != "loguru-intercept":
            from loguru import logger

            logger.bind(**fields).exception("a secret: Bearer M4rk3r0123")
        else:
            logging.getLogger("shop").exception("a secret: Bearer %s", "M4rk3r0123", extra=fields)
    return "ok"


@app.get("/fail")
async def fail() -> str:
    try:
        raise ValueError("out of stock")
    except ValueError:
        if HOW.startswith("loguru") and HOW != "loguru-intercept":
            from loguru import logger

            logger.exception("it failed")
        else:
            logging.getLogger("shop").exception("it failed")
    return "ok"


@app.get("/debug")
async def debug() -> int:
    logging.getLogger("shop.search").debug("a detail", extra={"pid": os.getpid()})
    return os.getpid()


@app.get("/boom")
async def boom() -> None:
    raise LookupError("nobody handles this")
