"""Files that hold secrets: read only if they are the owner's alone, written so that nobody sees half of one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from resumption.errors import ConfigurationError

__all__ = ["read_secret_file", "write_secret_file"]


def read_secret_file(path: Path, limit: int, *, check_mode: bool = True) -> bytes:
    """The content of a file of secrets: a regular file of at most ``limit`` bytes, and the owner's alone.

    Raises `ConfigurationError`, which names the file and says what to do about it.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise ConfigurationError(f"{path} is not a regular file")
            if check_mode and os.name == "posix" and facts.st_mode & 0o077:
                raise ConfigurationError(
                    f"{path} holds a secret, but its mode {stat.S_IMODE(facts.st_mode):04o} lets others at it: "
                    "run chmod 600 on it"
                )
            content = file.read(limit + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise ConfigurationError(f"{path} is longer than {limit} bytes: it holds no ticket secret")
    return content


def write_secret_file(path: Path, content: bytes, *, replace: bool = True) -> bool:
    """Write a file of mode 0600 in one step: whoever opens ``path`` finds all of it, or what was there before.

    Without ``replace`` an existing file stays as it is, also when another process makes it at this moment; returns
    whether the file is ours. Raises `OSError`.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
            return True
        try:
            os.link(fresh, path)
        except FileExistsError:
            return False
        return True
    finally:
        fresh.unlink(missing_ok=True)
