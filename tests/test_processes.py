"""What a command starts ends with it, however the command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from otel_search.processes import Guarded, Processes
from tests.service import PATIENCE, eventually

# Says who it is, then does as it is told by its arguments.
CHILD = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
if "counting" in sys.argv:
    signal.signal(signal.SIGINT, lambda *_: print("interrupt", flush=True))
if "parent" in sys.argv:
    print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
print(os.getpid(), flush=True)
if "exit" in sys.argv:
    sys.exit(7)
while True:
    time.sleep(600)
"""

PARENT = """
import sys, time
from otel_search.processes import Guarded
child = Guarded([sys.executable, "-c", *sys.argv[1:]], grace=0.2, start_new_session=True)
time.sleep(600)
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", CHILD, *words]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "output"
    yield path
    for word in path.read_text().split():
        if word.isdecimal() and not is_gone(int(word)):
            os.kill(int(word), signal.SIGKILL)


def pids(output: Path, count: int = 1) -> list[int]:
    return eventually(
        lambda: len(found := [int(word) for word in output.read_text().split() if word.isdecimal()]) == count and found
    )


@pytest.mark.parametrize("words", [(), ("stubborn", "parent")], ids=["willing", "stubborn, with a child of its own"])
def test_the_command_ends_when_its_parent_is_killed(output: Path, words: tuple[str, ...]) -> None:
    with output.open("wb") as file:
        parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, *words], stdout=file)
    started = pids(output, 2 if words else 1)
    parent.kill()
    parent.wait()
    eventually(lambda: all(map(is_gone, started)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_status_is_that_of_the_command(output: Path, number: int) -> None:
    with output.open("wb") as file:
        guarded = Guarded(command(), stdout=file)
    os.kill(pids(output)[0], number)
    assert guarded.wait(PATIENCE) == -number


def test_an_exit_status_goes_through(output: Path) -> None:
    with output.open("wb") as file:
        assert Guarded(command("exit"), stdout=file).wait(PATIENCE) == 7


def test_signals_to_the_guard_reach_the_command(output: Path) -> None:
    with output.open("wb") as file:
        guarded = Guarded(command(), stdout=file)
    pids(output)
    guarded.terminate()
    assert guarded.wait(PATIENCE) == -signal.SIGTERM


def test_an_interrupt_of_the_parent_alone_is_passed_on(output: Path) -> None:
    with output.open("wb") as file:
        guarded = Guarded(command(), stdout=file, stderr=subprocess.DEVNULL)
    pids(output)
    guarded.tell(signal.SIGINT)
    assert guarded.wait(PATIENCE) == -signal.SIGINT


def test_an_interrupt_of_the_whole_group_is_not_doubled(output: Path) -> None:
    with output.open("wb") as file:
        guarded = Guarded(command("counting"), stdout=file, start_new_session=True)
    pids(output)
    for turn in (1, 2):
        os.killpg(guarded.pid, signal.SIGINT)  # as Ctrl-C
        guarded.tell(signal.SIGINT)
        eventually(lambda turn=turn: output.read_text().count("interrupt") == turn)
    guarded.tell(signal.SIGTERM)  # comes after what was told before
    assert guarded.wait(PATIENCE) == -signal.SIGTERM
    assert output.read_text().count("interrupt") == 2


def test_a_stubborn_command_is_killed_with_its_children(tmp_path: Path) -> None:
    with Processes(tmp_path, grace=0.2) as processes:
        process = processes.start("stubborn", command("stubborn", "parent"), os.environ)
        started = pids(process.output, 2)
    assert process.popen.returncode == -signal.SIGKILL
    eventually(lambda: all(map(is_gone, started)))


def test_a_program_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such program"):
        Guarded(["no-such-program"])
