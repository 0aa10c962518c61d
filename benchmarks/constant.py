"""The driver, with some pure functions made to give their first answer ever after: the most that could be saved by
writing them in another language.

    python -m benchmarks.constant MODULE:FUNCTION,… APP LOAD REQUESTS
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

from benchmarks import driver
from benchmarks.loads import LOADS


def make_constant(name: str) -> None:
    """Let `module:function` work once and give that answer ever after."""
    module_name, _, function = name.partition(":")
    module = importlib.import_module(module_name)
    work = getattr(module, function)
    answers: list[Any] = []

    def constant(*args: Any, **kwargs: Any) -> Any:
        if not answers:
            answers.append(work(*args, **kwargs))
        return answers[0]

    setattr(module, function, constant)


if __name__ == "__main__":
    names, app, load, count = sys.argv[1:]
    for each in names.split(","):
        make_constant(each)
    measured = asyncio.run(driver.measure(app, LOADS[load], int(count)))
    print("RESULT " + json.dumps(measured), file=sys.stderr, flush=True)
