# The demo's product search service with otel-search, from this checkout, for docker-compose.yml.
# A service of your own gets its Dockerfile from `otel-search stack init`.
FROM python:3.13-slim-bookworm

RUN useradd --system --uid 10000 --create-home app
WORKDIR /app
COPY pyproject.toml README.md LICENSE docker-compose.yml ./
COPY constraints/current.txt constraints.txt
COPY otel_search otel_search
COPY collector collector
RUN pip install --no-cache-dir --constraint constraints.txt '.[demo]'

USER app
EXPOSE 8000
# Liveness does not ask Elasticsearch: an outage there must not restart the service.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
CMD ["sh", "-c", "exec opentelemetry-instrument uvicorn \"$APP_MODULE\" --host 0.0.0.0 --port 8000 --workers \"${WEB_CONCURRENCY:-1}\""]
