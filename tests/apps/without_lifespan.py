"""A gunicorn worker as uvicorn's documentation shows one."""

from typing import ClassVar

from uvicorn.workers import UvicornWorker


class WithoutLifespan(UvicornWorker):
    CONFIG_KWARGS: ClassVar = {"lifespan": "off"}
