"""Grafana dashboards as code: generated from the telemetry schema into collector/grafana, one JSON file each.

    python -m dashboards           write them
    python -m dashboards --check   status 1 if one differs from what is committed

Every name of a metric and a label comes from `otel_search.semconv`, or stands in `names.py`: a metric that is renamed
there takes its panels along, and one that is removed breaks the generation.
"""
