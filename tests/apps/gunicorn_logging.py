"""gunicorn's own logger, as a subclass and by a configuration."""

from __future__ import annotations

from gunicorn.glogging import Logger
from pythonjsonlogger.json import JsonFormatter


class JsonLogger(Logger):
    """Writes gunicorn's own lines as JSON, as many services do."""

    def setup(self, cfg: object) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s"))
