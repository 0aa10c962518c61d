"""A program that forks at a word on its standard input; its child measures and ends."""

import os
import sys

from opentelemetry import metrics

counter = metrics.get_meter("app").create_counter("work")
counter.add(1, {"who": "parent"})
sys.stdin.readline()
pid = os.fork()
if pid == 0:
    counter.add(1, {"who": "child"})
    sys.exit(0)
os.waitpid(pid, 0)
