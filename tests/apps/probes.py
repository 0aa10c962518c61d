"""Probes that ask Elasticsearch, and routes of users that look like probes."""

import asyncio
import logging
import os

import structlog
from elasticsearch import Elasticsearch
from fastapi import FastAPI, HTTPException
from opentelemetry import trace

app = FastAPI()
log = structlog.get_logger()
state = {"mode": "well"}
engine = Elasticsearch(os.environ["ELASTICSEARCH_URL"])


async def ask() -> bool:
    return bool(await asyncio.to_thread(engine.ping))


@app.get("/health")
@app.get("/health/live")
@app.get("/healthz")
@app.get("/metrics")
@app.get("/internal/state")
@app.get("/ping")
async def probe():
    return {"elasticsearch": await ask()}


@app.get("/ready")
async def ready():
    with trace.get_tracer("probes").start_as_current_span("by hand"):
        await ask()
    if state["mode"] == "unavailable":
        log.warning("not ready", probe="structlog")
        logging.getLogger("probes").warning("not ready", extra={"probe": "logging"})
        raise HTTPException(503)
    if state["mode"] == "raise":
        raise ValueError("the probe itself is broken")
    return "ready"


@app.post("/mode/{mode}")
async def mode(mode: str):
    state["mode"] = mode


@app.get("/items/healthy")
@app.get("/api/metrics-report")
@app.get("/healthy-recipes")
@app.get("/health/articles/{article}")
@app.get("/live-search")
@app.get("/readyness")
async def of_users(article: str = ""):
    with trace.get_tracer("probes").start_as_current_span("by hand"):
        return {"elasticsearch": await ask()}
