"""An application that calls contrib's instrumentation itself, twice, and one mounted in it, too."""

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

app, mounted = FastAPI(), FastAPI()


@app.get("/health")
async def health():
    return "ok"


@app.get("/item/{item}")
async def one_item(item: int):
    return item


@app.get("/boom")
async def boom():
    raise ValueError("https://shop.example/?token=M4rk3r")


@mounted.get("/list/{item}")
async def listed(item: int):
    return item


app.mount("/mounted", mounted)
FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"])
FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"])
