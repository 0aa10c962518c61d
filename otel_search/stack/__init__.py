"""The whole stack for one machine, as files: docker-compose.yml, collector/, a Dockerfile, and passwords in .env.

There is one copy of them, at the top of the checkout; the wheel carries it as data of this package.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

PASSWORDS = (
    "ELASTIC_PASSWORD",
    "APP_ELASTICSEARCH_PASSWORD",
    "COLLECTOR_ELASTICSEARCH_PASSWORD",
    "JAEGER_ELASTICSEARCH_PASSWORD",
    "GRAFANA_ELASTICSEARCH_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
    "OTEL_SEARCH_ADMIN_TOKEN",
)
"""Variables of docker-compose.yml that have no default: each gets a random value of its own."""

_AUTHORIZATION = "COLLECTOR_ELASTICSEARCH_AUTHORIZATION"
_HEAD = "# Passwords of docker-compose.yml, made for this directory alone: keep it out of version control.\n"


@dataclass(frozen=True)
class Written:
    """What a call did.

    Attributes:
        made: Files that were written.
        kept: Files that were there already, and stay as they are.
        notes: What the user has to see to, as a file that was kept does not.
    """

    made: tuple[Path, ...]
    kept: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def files() -> dict[Path, Path]:
    """Every file of the stack: its place in the user's directory, and where it comes from."""
    source = HERE if (HERE / "docker-compose.yml").is_file() else HERE.parents[1]
    found = {
        Path("docker-compose.yml"): source / "docker-compose.yml",
        Path("Dockerfile"): HERE / "Dockerfile",
        Path(".dockerignore"): HERE / "dockerignore",
        Path(".gitignore"): HERE / "gitignore",
    }
    for path in sorted((source / "collector").rglob("*")):
        if path.is_file():
            found[path.relative_to(source)] = path
    return found


def init(directory: Path, *, append: bool = False) -> Written:
    """Write the stack for a service of the user's own, and its passwords; nothing that exists is touched.

    Args:
        directory: Made if it is missing.
        append: Add to the .env that there is what it lacks.

    Raises:
        OSError: A file cannot be written.
    """
    made: list[Path] = []
    kept: list[Path] = []
    for place, source in files().items():
        target = directory / place
        # Containers read them as users of their own, whatever the umask is here.
        mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
        (made if _write(target, source.read_bytes(), mode) else kept).append(target)
    own = {"APP_MODULE": "app:app", "OTEL_SERVICE_NAME": _service(directory)}
    passwords = env(directory, own, append=append)
    ignored = (path for path in kept if path.name in (".gitignore", ".dockerignore") and not _ignores(path, ".env"))
    notes = [f"{path} was there: add .env to it, for the passwords in it" for path in ignored]
    return Written((*made, *passwords.made), (*kept, *passwords.kept), (*passwords.notes, *notes))


def env(directory: Path, more: Mapping[str, str] | None = None, *, append: bool = False) -> Written:
    """Write .env with new passwords, readable by its owner alone, unless there is one.

    Args:
        directory: Where docker-compose.yml is.
        more: Further variables to write into it.
        append: Add to the one that there is what it lacks.

    Raises:
        OSError: It cannot be read or written.
    """
    path = directory / ".env"
    if _write(path, "".join([_HEAD, *_lines(more or {}, {})]).encode(), 0o600):
        return Written((path,), ())
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    there = _variables(text)
    lines = [line for line in _lines(more or {}, there) if not there.get(line.partition("=")[0])]
    if not lines:
        return Written((), (path,))
    if append:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(["" if text.endswith("\n") or not text else "\n", _HEAD, *lines]))
        open_to_others = f"{path} can be read by others: chmod 600 {path}"
        return Written((path,), (), (open_to_others,) if path.stat().st_mode & 0o077 else ())
    names = ", ".join(line.partition("=")[0] for line in lines)
    return Written((), (path,), (f"{path} was there without {names}: --append adds them",))


def _lines(more: Mapping[str, str], there: Mapping[str, str]) -> Iterator[str]:
    login = "COLLECTOR_ELASTICSEARCH_PASSWORD"
    values = {name: there.get(name) or secrets.token_urlsafe(24) for name in PASSWORDS}
    if not there.get(login):
        values[login] = _password(there.get(_AUTHORIZATION, "")) or values[login]
    values[_AUTHORIZATION] = f"Basic {base64.b64encode(f'collector:{values[login]}'.encode()).decode()}"
    for name, value in {**more, **values}.items():
        yield f"{name}='{value}'\n" if " " in value else f"{name}={value}\n"


def _password(authorization: str) -> str:
    """The password in a header of Basic authentication; empty if there is none."""
    try:
        return base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _variables(text: str) -> dict[str, str]:
    """The variables of a .env file."""
    found = re.findall(r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return {name: value[1:-1] if value[:1] in "'\"" and value[:1] == value[-1:] else value for name, value in found}


def _service(directory: Path) -> str:
    """A name for the service in a directory: that of the directory, as far as it can be one."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", directory.resolve().name).strip("-.") or "search"


def _ignores(path: Path, name: str) -> bool:
    """Whether a file of patterns, one a line, leaves out a file beside it."""
    try:
        patterns = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    return any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/").removeprefix("/")) for pattern in patterns)


def _write(path: Path, content: bytes, mode: int) -> bool:
    """Write a file that is not there yet; whether it was written."""
    _make(path.parent)
    try:
        # Exclusive: neither a file nor a link that somebody else has just made is ever written to.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)
    return True


def _make(directory: Path) -> None:
    """Make a directory and those above it that are missing, for everybody to read."""
    if not directory.is_dir():
        if directory.parent != directory:
            _make(directory.parent)
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
