"""Elastic's APM agent, as its documentation sets up FastAPI and structlog.

https://www.elastic.co/docs/reference/apm/agents/python/starlette-support and /logs
"""

from __future__ import annotations

import os

import structlog
from elasticapm.contrib.starlette import ElasticAPM, make_apm_client
from elasticapm.handlers.structlog import structlog_processor

from benchmarks.searchapp import app

apm = make_apm_client({"SERVICE_NAME": "bench", "SERVER_URL": os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]})
app.add_middleware(ElasticAPM, client=apm)

*processors, renderer = structlog.get_config()["processors"]
structlog.configure(processors=[*processors, structlog_processor, renderer])


async def flush() -> None:
    """Send what the agent still holds."""
    apm._transport.flush()


__all__ = ["app", "flush"]
