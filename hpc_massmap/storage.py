"""Files that are either whole or not there: temporary file, fsync, rename.

Every result of the suite is written through `replacing`, so a crash, a kill or a full disk at any
instruction leaves the previous version intact.
"""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hpc_massmap.errors import InputError

FOR_ALL, SECRET = 0o666, 0o600
UNFINISHED = ".tmp"  # ends the name of a file that is being written
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# what else a file system answers; other errors, as of a network, are no matter of the file that is written meanwhile
BROKEN = (
    *(errno.EIO, errno.EFBIG, errno.ESTALE, errno.EISDIR),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST),
)


@contextmanager
def replacing(target: Path, mode: int = FOR_ALL) -> Iterator[Path]:
    """Give a temporary path beside `target`; when the block ends well it becomes `target`, else it is removed.

    Parameters
    ----------
    mode : who may read and write it, of which the umask takes away

    Raises
    ------
    InputError
        If the disk is full or fails, or the folder cannot be written; `target` is then as it was. Also if it is a
        device or a pipe, as /dev/stdout: it would be gone, and a file in its place.
    """
    temporary: Path | None = None
    try:
        with telling(target):
            if target.exists() and not (target.is_file() or target.is_dir()):
                raise InputError(f"{target}: a device or a pipe, which a file would replace; name a file")
            target.parent.mkdir(parents=True, exist_ok=True)
            path = target.with_name(f".{target.name}.{secrets.token_hex(6)}{UNFINISHED}")
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            temporary = path
            yield temporary
            _sync(temporary)
            temporary.replace(target)
            _sync(target.parent)
    finally:
        if temporary is not None:
            with suppress(OSError):  # on a disk that fails, what was wrong with the file is what matters
                temporary.unlink()


@contextmanager
def telling(target: Path) -> Iterator[None]:
    """Say in one line why a file or folder cannot be written.

    Raises
    ------
    InputError
        If the disk is full or fails, or does not let us.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # of torch and HDF5, as they close a file
        number = getattr(error, "errno", None)
        if _is_out_of_space(error):
            kept = "; the previous file is intact" if target.is_file() else ""
            raise InputError(f"{target}: no space left on the disk{kept}; free some and run again") from error
        if number in FORBIDDEN:
            raise InputError(f"{target}: cannot be written ({os.strerror(number)}); choose another folder") from error
        if number in BROKEN:
            raise InputError(f"{target}: cannot be written ({os.strerror(number)})") from error
        raise


def _is_out_of_space(error: OSError | RuntimeError) -> bool:
    # HDF5 and torch give no errno, or in the text only
    return getattr(error, "errno", None) in OUT_OF_SPACE or "No space left on device" in str(error)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(target: Path, text: str, mode: int = FOR_ALL) -> None:
    """Replace the file `target` by `text`, whole or not at all."""
    with replacing(target, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any, mode: int = FOR_ALL) -> None:
    """Replace the file `target` by `value` as JSON; a NaN is refused, since JSON has none."""
    write_text(target, json.dumps(value, indent=2, default=str, allow_nan=False) + "\n", mode)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises
    ------
    InputError
        If it is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
