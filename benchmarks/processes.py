"""The measured processes: their variables, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.variants import PROJECT


def environment(endpoint: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a measured process that exports to `endpoint`."""
    # An installed package has its bytecode; a checkout has it once it may be written.
    left_out = ("OTEL_", "ELASTIC_", "LOGFIRE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": "bench",
        # At full speed the default of 2048 would lose spans, the more the slower a variant is.
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
        "OTEL_BLRP_MAX_QUEUE_SIZE": "100000",
        **variables,
    }


def result_of(command: Sequence[str], endpoint: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """What a measuring process prints after `RESULT ` on its stderr; it exports to `endpoint`."""
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=environment(endpoint, variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    for line in reversed(done.stderr.splitlines()):
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
