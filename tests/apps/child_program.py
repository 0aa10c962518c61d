"""A program whose output somebody parses."""

import json
import logging
import sys
import warnings

how = sys.argv[1]
if how == "structlog":
    import structlog

    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.LogfmtRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.get_logger().info("structured", level_of="detail", timestamp="then")
elif how == "operation":
    from otel_search import operation

    with operation("nightly_import"):
        print("imported", file=sys.stderr)
elif how == "loguru":
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, format="{level} {message} {extra}")
    logger.info("from loguru")
else:
    logging.info("not seen")  # noqa: LOG015 - as small programs do
    logging.warning("careful %d", 7)  # noqa: LOG015
    logging.getLogger("some.library").error("a library says")
    warnings.warn("deprecated thing", stacklevel=1)
print(json.dumps({"result": 42}))
if how == "failing":
    raise ValueError("broken")
