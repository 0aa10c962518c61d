"""Applications that set up telemetry themselves, in the usual ways, whatever stands before them.

The variable `OWN` says how: words, separated by commas.
"""

import asyncio
import logging
import os

from fastapi import FastAPI
from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import otel_search

OWN = os.environ.get("OWN", "").split(",")
RESOURCE = Resource.create({"service.name": "by-the-application"})
logger = logging.getLogger("app")

if "providers" in OWN:
    tracer_provider = TracerProvider(resource=RESOURCE)
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracer_provider)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    metrics.set_meter_provider(MeterProvider(resource=RESOURCE, metric_readers=[reader]))
    logger_provider = LoggerProvider(resource=RESOURCE)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    _logs.set_logger_provider(logger_provider)
    logging.getLogger().addHandler(LoggingHandler(logger_provider=logger_provider))

if "exporters" in OWN:
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    metrics.get_meter_provider().add_metric_reader(PeriodicExportingMetricReader(OTLPMetricExporter()))
    _logs.get_logger_provider().add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    logging.getLogger().addHandler(LoggingHandler())


def make() -> FastAPI:
    made = FastAPI()

    @made.get("/health")
    async def health() -> str:
        return "ok"

    @made.get("/items/{number}")
    async def item(number: int) -> int:
        url = f"https://shop.example/{number}?token=M4rk3r"
        with trace.get_tracer("app").start_as_current_span("work", attributes={"url.full": url}):
            logger.warning("item %d", number)
        return number

    for word in OWN:
        if word == "contrib":
            FastAPIInstrumentor.instrument_app(made)
        if word == "instrument":
            otel_search.instrument(made)
        if word == "uninstrument":
            otel_search.uninstrument(made)
    return made


app = make()
other = make()


async def both(scope, receive, send):
    """Two applications in one process, each for itself: `/other` is the second one's."""
    if scope["type"] == "http" and scope["path"].startswith("/other"):
        scope = {**scope, "path": scope["path"].removeprefix("/other")}
        await other(scope, receive, send)
    else:
        await app(scope, receive, send)


async def as_a_program() -> None:
    import uvicorn

    await uvicorn.Server(uvicorn.Config(app, port=int(os.environ["PORT"]))).serve()


if __name__ == "__main__":
    asyncio.run(as_a_program())
