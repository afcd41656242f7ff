"""Checkpoints: written whole, and refused when read if they are damaged or not of this suite.

A file holds the serialised state beside its SHA-256. It is read with `weights_only`, so no code runs on load.
"""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.storage import replacing

FORMAT = "hpc_massmap checkpoint 1"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint `path` by `state`: tensors, numbers, strings, lists and dicts of them."""
    data = _serialised(state)
    envelope = {
        "format": FORMAT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "state": torch.frombuffer(bytearray(data), dtype=torch.uint8),
    }
    with replacing(path) as temporary:
        temporary.write_bytes(_serialised(envelope))  # torch would not say that the disk is full


def _serialised(value: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that was saved, on the CPU, and its `digest`.

    Raises
    ------
    InputError
        If the file is missing, damaged or not a checkpoint of ours.
    """
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint; make it with massmap train") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    envelope = _deserialised(path, whole)
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of this suite")
    stored, digest = envelope.get("state"), envelope.get("sha256")
    data = stored.numpy().tobytes() if isinstance(stored, torch.Tensor) else b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path}: damaged checkpoint (its digest does not match); delete it and train again")
    return {**_deserialised(path, data), "digest": digest}


def _deserialised(path: Path, data: bytes) -> Any:
    complaint = f"{path}: not a readable checkpoint; delete it and train again"
    with in_one_line(complaint, pickle.UnpicklingError, LookupError, TypeError, AttributeError):
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
