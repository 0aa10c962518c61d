"""What a comparison has measured, and what is read out of it."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.variants import BARE, PLAIN, UPSTREAM


@dataclass
class Results:
    """The rows of all rounds.

    Attributes:
        command: What was run.
        machine: Where.
        requests: Measured requests of a round in process.
        driven: In process, by load and variant: one row a round.
        sent: What each sent for a request in process, by load and variant.
        served: Behind a server, by variant: one row a round.
        rate: Searches a second of the paced client.
        instructions: Thousands of instructions a request, by load and variant.
    """

    command: str
    machine: str
    requests: int
    rate: float
    driven: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    sent: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    served: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    instructions: dict[str, dict[str, float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` has written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def median(self, load: str, variant: str, key: str) -> float:
        """The median over the rounds in process."""
        return statistics.median(row[key] for row in self.driven[load][variant])

    def overhead(self, load: str, variant: str) -> float:
        """CPU microseconds a request beyond the same application with plain JSON logging."""
        return self.median(load, variant, "cpu") - self.median(load, PLAIN, "cpu")

    def to_upstream(self, load: str, variant: str) -> float:
        """The overhead in upstream's."""
        return self.overhead(load, variant) / self.overhead(load, UPSTREAM)

    def tail(self, load: str, variant: str) -> float:
        """The p99 in the bare application's."""
        return self.median(load, variant, "p99") / self.median(load, BARE, "p99")

    def setup(self, variant: str) -> float:
        """CPU seconds from the process's start until the application can serve, with any load."""
        return statistics.median(row["setup_cpu"] for rows in self.driven.values() for row in rows[variant])

    def served_median(self, variant: str, key: str) -> float:
        """The median over the rounds behind a server."""
        return statistics.median(row[key] for row in self.served[variant])
