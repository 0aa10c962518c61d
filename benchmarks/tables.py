"""Medians with their spread, Markdown tables, and the parts of a document that a command writes."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_PART = "<!-- generated: {name} -->\n{text}\n<!-- end: {name} -->"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, with the lowest and the highest if there are several."""
    low, high = min(values), max(values)
    range_ = f" ({low:.{digits}f}-{high:.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.{digits}f}{range_}"


def short(value: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """What it was measured on."""
    cores = len(os.sched_getaffinity(0))
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores"


def command(module: str) -> str:
    """The command line of this run, but for where its result goes."""
    kept, arguments = [], iter(sys.argv[1:])
    for part in arguments:
        if part in {"--write", "--save", "--read"}:
            next(arguments, None)
        else:
            kept.append(shlex.quote(part))
    return " ".join(["python -m", module, *kept])


def write_part(document: Path, name: str, text: str) -> None:
    """Replace one generated part of a document; everything else stays."""
    before = document.read_text(encoding="utf-8")
    pattern = re.compile(
        re.escape(f"<!-- generated: {name} -->") + ".*?" + re.escape(f"<!-- end: {name} -->"), re.DOTALL
    )
    if not pattern.search(before):
        raise SystemExit(f"{document} has no part `{name}`")
    part = _PART.format(name=name, text=text)
    document.write_text(pattern.sub(lambda _: part, before, count=1), encoding="utf-8")


def rotated(names: list[str], number: int) -> list[str]:
    """The names beginning with another one in every round, so that no one is always the first."""
    start = number % len(names)
    return names[start:] + names[:start]


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with what every comparison is asked for."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help="interleaved rounds")
    return made
