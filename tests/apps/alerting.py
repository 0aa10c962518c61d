"""A service that fails when it is told to, with an alert rule of its own in Python."""

from fastapi import FastAPI, HTTPException

from otel_search import AlertRule

app = FastAPI()
state = {"orders": 0}


def waiting(snapshot):
    served = snapshot.value("http_server_request_duration_seconds_count", http_route="/order")
    return served if served is not None and served >= 3 else None


AlertRule("OrdersWait", waiting, "{value:count} orders of {service} wait", "info", ["orders@example.org"])


@app.get("/items/ready")
async def ready():
    return "ok"


@app.get("/order")
async def order():
    return "ok"


@app.get("/status/{code}")
async def status(code: int):
    if code >= 400:
        raise HTTPException(code)
    return code
