"""A service that starts programs and reads what they write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fastapi import FastAPI

app = FastAPI()
PROGRAM = str(Path(__file__).with_name("child_program.py"))


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/run/{how}")
def run(how: str, launcher: bool = True) -> dict[str, str | int]:
    command = {
        "file": [sys.executable, PROGRAM, "plain"],
        "code": [sys.executable, "-c", Path(PROGRAM).read_text(), "plain"],
        "shell": ["sh", "-c", f"{sys.executable} {PROGRAM} plain"],
        "failing": [sys.executable, PROGRAM, "failing"],
        "structlog": [sys.executable, PROGRAM, "structlog"],
        "operation": [sys.executable, PROGRAM, "operation"],
        "loguru": [sys.executable, PROGRAM, "loguru"],
    }[how]
    env = {name: value for name, value in os.environ.items() if launcher or name != "PYTHONPATH"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=Path(PROGRAM).parent)
    return {"stdout": done.stdout, "stderr": done.stderr, "status": done.returncode}
