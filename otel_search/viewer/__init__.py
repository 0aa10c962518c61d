"""Where telemetry arrives on a developer's machine: an OTLP receiver and what it has received."""
