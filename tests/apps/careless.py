"""Every careless thing that an application does with what it was sent."""

import logging
import warnings
from urllib.parse import parse_qsl

import structlog
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, Response, WebSocket
from opentelemetry import _logs, trace

app = FastAPI()
log = structlog.get_logger()
slog = logging.getLogger("careless")
tracer = trace.get_tracer("careless")


@app.get("/health")
async def health():
    return "ok"


@app.get("/search")
async def search(request: Request, response: Response):
    response.set_cookie("session", request.cookies.get("session", "none"))
    # As a field, `code` may be anything from a country to an error number: it is a secret in URLs only.
    params = {name: value for name, value in request.query_params.items() if name not in ("code", "sig")}
    log.info("searching", url=str(request.url), headers=dict(request.headers), params=params)
    slog.warning("searching %s with %s", request.url, request.headers.items())
    slog.info("raw headers: %r", request.scope["headers"])
    return "found"


@app.get("/boom")
async def boom(request: Request):
    raise ValueError(f"GET {request.url} failed")


@app.get("/chained")
async def chained(request: Request):
    try:
        raise ConnectionError(f"cannot reach {request.url}")
    except ConnectionError as error:
        raise RuntimeError("the search failed") from error


@app.get("/by-hand")
async def by_hand(request: Request):
    url = str(request.url)
    try:
        with tracer.start_as_current_span("call", attributes={"url.full": url}):
            raise ValueError(f"GET {url} failed")
    except ValueError:
        log.exception("the call failed")
        slog.exception("the call to %s failed", url)
    warnings.warn(f"do not call {url}", stacklevel=1)
    raise HTTPException(502, "bad gateway")


@app.get("/background")
async def background(request: Request, tasks: BackgroundTasks):
    def fail():
        raise ValueError(f"cannot notify {request.url}")

    tasks.add_task(fail)
    return "accepted"


@app.get("/by-its-looks")
async def by_its_looks(it: str):
    """Tells a secret in every way, and nowhere beside a name that gives it away."""
    text = f"it is {it}, then"
    with tracer.start_as_current_span(f"use {it}", attributes={"note": text, "notes": [text, "x"]}) as span:
        span.add_event(f"used {it}", {"note": text})
        span.set_status(trace.StatusCode.ERROR, text)
    _logs.get_logger("careless").emit(_logs.LogRecord(body=text, attributes={"note": text, "deep": {"list": [text]}}))
    log.info(text, note=text, raw=text.encode(), deep={"list": [{"it": (text,)}], it: 1}, things={text})
    slog.warning("it is %s, then", it, extra={"note": text, "number": int(it) if it.isdigit() else 0})
    try:
        try:
            raise KeyError(it)
        except KeyError as error:
            raise ExceptionGroup(text, [ValueError(text)]) from error
    except ExceptionGroup:
        log.exception("it failed")
        slog.exception("it failed")
    raise RuntimeError(text)


@app.post("/login")
async def login(request: Request):
    form = dict(parse_qsl((await request.body()).decode()))
    log.info("login", form=form, password=form["password"], user=form["user"])
    slog.info("login with %s", form)
    slog.info("login", extra={"password": form["password"]})
    raise PermissionError(f"wrong credentials: {form}")


@app.websocket("/live")
async def live(socket: WebSocket):
    await socket.accept()
    await socket.close()
