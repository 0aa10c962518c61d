"""Names for users and sessions that tell nobody who they are: a keyed hash of their ids.

Without the key nobody can find out whose name it is by trying ids, nor join two services' telemetry.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from hashlib import blake2b
from pathlib import Path

from otel_search.metrics import shared_directory

_logger = logging.getLogger("otel_search.callers")

_MAX_BYTES = 4096
"""Of an id that is hashed: what a cookie may hold."""


class Pseudonyms:
    """Makes the names.

    Args:
        key: The key, in any form; empty for a random one that this server's workers share.
    """

    def __init__(self, key: str = "") -> None:
        self._key = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=32).digest() if key else b""
        self._lock = threading.Lock()

    def of(self, kind: str, identifier: str) -> str | None:
        """The name of an id: 32 hexadecimal digits, or `None` if the id is empty or longer than 4 KB.

        Args:
            kind: `user` or `session`: the same id has another name as each of them.
            identifier: The id.
        """
        text = identifier.encode("utf-8", "surrogatepass")
        if not text or len(text) > _MAX_BYTES:
            return None
        return blake2b(text, key=self._key or self._found(), digest_size=16, person=kind.encode()).hexdigest()

    def _found(self) -> bytes:
        with self._lock:
            if not self._key:
                self._key = _shared_key()
            return self._key


def _shared_key() -> bytes:
    try:
        directory = shared_directory()
        if directory is not None:
            return _key_in(directory / "pseudonyms.key")
    except OSError as error:
        _logger.warning("users have another pseudonym in each worker: there is no directory to share: %s", error)
    return secrets.token_bytes(32)


def _key_in(path: Path) -> bytes:
    """The key in this file; the first worker to come makes it, whole or not at all."""
    mine = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(FileExistsError):
        handle = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(mine)
    finally:
        mine.unlink(missing_ok=True)
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{path} holds no key")
    return key
