"""logfire, as its documentation sets up FastAPI, structlog and system metrics, sending to another backend.

https://logfire.pydantic.dev/docs/how-to-guides/alternative-backends/ and /docs/integrations/
"""

from __future__ import annotations

import logfire
import structlog

from benchmarks.searchapp import app

logfire.configure(service_name="bench", send_to_logfire=False, console=False)
logfire.instrument_fastapi(app)
logfire.instrument_system_metrics()

*processors, renderer = structlog.get_config()["processors"]
structlog.configure(processors=[*processors, logfire.StructlogProcessor(), renderer])

__all__ = ["app"]
