"""A service of which all workers but the first are long in starting."""

from __future__ import annotations

import os
import time

from fastapi import FastAPI

try:
    os.close(os.open(os.environ["FIRST"], os.O_CREAT | os.O_EXCL))
except FileExistsError:
    time.sleep(5)

app = FastAPI()
