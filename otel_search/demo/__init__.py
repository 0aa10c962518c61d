"""The demo: a product search service as a user would write it, and what it takes to watch it work.

`app.py` and `service/` are the service; there is no line of telemetry in them. The rest starts an
embedded engine, the service under `opentelemetry-instrument`, and shows what the telemetry says.
"""
