"""The real Collector, Jaeger and Prometheus for the integration lane: built from pins, started on loopback."""
