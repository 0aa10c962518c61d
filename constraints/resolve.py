"""Pins each lane anew: resolves its requirements in a fresh environment and freezes what came of it.

Run by `make constraints`. The files are what CI and `make test` install.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent
TEST_TOOLS = ["aiosmtpd", "httpx", "hypothesis", "pytest", "uvicorn", "websockets"]

# The application that the benchmarks measure, benchmarks/searchapp.py.
MEASURED = ["elasticsearch[async]>=9.5", "fastapi", "structlog", "uvicorn"]

LANES = {
    "current": [
        ".[alerts,cli,demo,kpis]",
        "elasticsearch[async]>=9.5",
        "axe-playwright-python",
        # Epochs order its releases by date; this is the newest for the newest Grafana.
        "grafana-foundation-sdk==1769699379!11.6.0",
        "gunicorn",
        "loguru",
        "mypy",
        "playwright",
        "ruff",
        "opentelemetry-configuration",
        "opentelemetry-distro",
        "python-json-logger",
        "trustme",
        *TEST_TOOLS,
    ],
    "elasticsearch8": [
        ".[demo,elasticsearch-dsl]",
        "elasticsearch[async]==8.19.*",
        "elasticsearch-dsl==8.18.*",
        *TEST_TOOLS,
    ],
    "contrib": [
        ".[contrib-elasticsearch]",
        "fastapi<=0.141",
        # One family, which old pip does not find by itself.
        "opentelemetry-instrumentation-fastapi==0.64b0",
        "opentelemetry-instrumentation-system-metrics==0.64b0",
        "opentelemetry-exporter-prometheus==0.64b0",
        "elasticsearch==8.12.*",
        *TEST_TOOLS,
    ],
    # What the benchmarks measure, and what they compare it with. 0.66b1 is the last family with all that `opentelemetry-bootstrap` chooses.
    "otel-search": [".", *MEASURED],
    "upstream": ["opentelemetry-distro[otlp]==0.66b1", "psutil", *MEASURED],
    "edot": ["elastic-opentelemetry", "psutil", *MEASURED],
    "logfire": ["logfire[fastapi,system-metrics]", *MEASURED],
    "elastic-apm": ["elastic-apm", *MEASURED],
    "instrumentator": ["prometheus-fastapi-instrumentator", *MEASURED],
}

# Their documentation says to add what this command finds to instrument.
BOOTSTRAP = {"upstream": "opentelemetry-bootstrap", "edot": "edot-bootstrap"}


def resolve(lane: str, requirements: list[str]) -> None:
    """Write `<lane>.txt`."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], cwd=PROJECT, check=True)
        if lane in BOOTSTRAP:
            bootstrap = [str(Path(folder) / "bin" / BOOTSTRAP[lane]), "--action=requirements"]
            found = subprocess.run(bootstrap, check=True, capture_output=True, text=True).stdout.split()
            subprocess.run([python, "-m", "pip", "install", "--quiet", *found], check=True)
        frozen = subprocess.run(
            [python, "-m", "pip", "freeze", "--exclude", "otel-search"], check=True, capture_output=True, text=True
        ).stdout
    header = f"# The {lane} lane, pinned by `make constraints` from: {', '.join(requirements)}\n"
    (HERE / f"{lane}.txt").write_text(header + frozen, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or LANES:
        resolve(name, LANES[name])
