"""The workers of one server: who they are, and the directory in which they meet.

They are the children of one process: a group is named after that process and the moment of its start.
In the group's directory each of them holds a numbered place, by a lock of the kernel that ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

import psutil

_ORIGIN = os.getpid()
_MAX_PLACES = 512


def shared_directory() -> Path | None:
    """What the workers of this server share, made if it is not there; `None` if this process serves alone.

    Raises:
        OSError: It cannot be made, or is open to others.
    """
    group = _group()
    return None if group is None else _directory(group)


def _group() -> str | None:
    """The name of the group that this process is a worker of, or `None` if it serves alone."""
    spawned = multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv
    forked = os.getpid() != _ORIGIN or "gunicorn.arbiter" in sys.modules
    if not spawned and not forked:
        return None
    return f"{os.getppid()}-{_started(os.getppid())}"


def _started(pid: int) -> str:
    try:
        # In ticks since the machine's start: seconds since the epoch would move with its clock.
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return f"{psutil.Process(pid).create_time():.0f}"


def private_directory() -> Path:
    """What this user's servers share on this machine, made if it is not there, and open to nobody else.

    Raises:
        OSError: It cannot be made, or is open to others.
    """
    base = Path(tempfile.gettempdir()) / f"otel-search-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if status.st_uid != os.getuid() or not base.is_dir() or base.is_symlink() or status.st_mode & 0o077:
        raise PermissionError(f"{base} belongs to somebody else, or is open to others")
    return base


def _directory(group: str) -> Path:
    base = private_directory()
    _sweep(base)
    directory = base / f"{group.partition('-')[0]}-{hashlib.sha256(group.encode()).hexdigest()[:12]}"
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "group").write_text(group, encoding="ascii")
    return directory


def _sweep(base: Path) -> None:
    """Remove what servers have left that are no more."""
    for directory in base.iterdir():
        try:
            pid, _, started = (directory / "group").read_text(encoding="ascii").partition("-")
            gone = not psutil.pid_exists(int(pid)) or _started(int(pid)) != started
        except (OSError, ValueError, psutil.Error):
            continue  # it is just being made
        locks = [int(path.stem) for path in directory.glob("*.lock") if path.stem.isdigit()]
        if gone and not any(is_held(directory, number) for number in locks):
            shutil.rmtree(directory, ignore_errors=True)


def take(directory: Path) -> tuple[int, IO[bytes]]:
    """Take the first place that is free.

    Returns:
        Its number, and what holds it for as long as it is open.

    Raises:
        OSError: There is none.
    """
    for number in range(_MAX_PLACES):
        held = (directory / f"{number}.lock").open("ab")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.close()
        else:
            return number, held
    raise OSError(f"{_MAX_PLACES} workers are there already")


def is_held(directory: Path, number: int) -> bool:
    """Whether a living worker holds the place of this number."""
    with contextlib.suppress(OSError), (directory / f"{number}.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
