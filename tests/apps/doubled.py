"""An application with more telemetry than is good for it, set in its code."""

import os

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

made = FastAPI()


@made.get("/items/{number}")
async def item(number: int) -> int:
    return number


if "elsewhere" in os.environ["DOUBLED"]:
    exporter = OTLPSpanExporter(endpoint="http://user:hunter2@127.0.0.1:9/v1/traces", timeout=1)
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))
if "contrib" in os.environ["DOUBLED"]:
    FastAPIInstrumentor.instrument_app(made)
app = OpenTelemetryMiddleware(made) if "around" in os.environ["DOUBLED"] else made
