"""An export of trials with a byte changed, an end cut off, or a value of another kind: one line, or sound trials.

The text has no checksum. What its redundancy shows is noticed: the loss of a trial is the least of its epochs'.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymongo import WriteConcern

from hpc_massmap.config import Database
from hpc_massmap.errors import InputError
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.documents import Document, fault_of
from hpc_massmap.tune.export import read_export, restore
from hpc_massmap.tune.study import Study
from tests.tune import made_up

FLIPS, CUTS = 800, 100
VALUES: list[Any] = [
    None,
    True,
    -1,
    3,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x" * 1000,
    "$set",
    [],
    [[]],
    [1, "2"],
    {},
    {"$a": 1},
]


@pytest.fixture(scope="module")
def trials() -> list[Document]:
    """As an export has them: one of each state."""
    documents = [made_up.trial(tid, state, epochs=4) for tid, state in enumerate((2, 2, 3, 0, 1))]
    return [json.loads(json.dumps(document, default=str)) for document in documents]


def text_of(trials: list[Document]) -> bytes:
    return "".join(json.dumps(document) + "\n" for document in trials).encode()


def read(path: Path) -> list[Document] | str:
    """The trials of an export, or the line that says why it is refused."""
    try:
        return read_export(path)
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert str(path) in line
    return line


def assert_sound(found: list[Document]) -> None:
    assert [fault for document in found if (fault := fault_of(document))] == []
    assert len({document["tid"] for document in found}) == len(found)
    for document in found:
        if document["state"] == 2:
            loss = document["result"]["loss"]
            assert loss == min(document["result"].get("history") or [loss])


def test_bytes_that_change(trials: list[Document], tmp_path: Path) -> None:
    data, path, stream = text_of(trials), tmp_path / "trials.jsonl", np.random.default_rng(2)
    refused = 0
    for _ in range(FLIPS):
        at, bit = int(stream.integers(len(data))), int(stream.integers(8))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        found = read(path)
        refused += isinstance(found, str)
        if not isinstance(found, str):
            assert_sound(found)
            assert len(found) >= len(trials) - 2  # one that is no longer sound, or two that became one line
    assert refused > FLIPS / 4


def test_ends_that_are_cut_off(trials: list[Document], tmp_path: Path) -> None:
    data, path = text_of(trials), tmp_path / "trials.jsonl"
    whole = {len(text_of(trials[:n])) for n in range(len(trials) + 1)}
    for end in np.linspace(0, len(data) - 2, CUTS, dtype=int).tolist():
        path.write_bytes(data[:end])
        found = read(path)
        assert isinstance(found, str) or end in whole, f"cut at {end}"


def changed(document: Document) -> Iterator[tuple[str, Document]]:
    """The document with each of its values in turn left out, and of each other kind; and with more."""
    for place in places(document, ()):
        for value in (*VALUES, ...):
            other = copy.deepcopy(document)
            inside = other
            for key in place[:-1]:
                inside = inside[key]
            if value is ...:
                del inside[place[-1]]
            else:
                inside[place[-1]] = value
            yield f"{'.'.join(map(str, place))} = {value!r:.20}", other
    for key in ("$set", "a.b", "_id", "", "extra"):
        yield f"{key} more", {**document, key: {"$x": 1}}


def places(value: Any, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*above, key)
        yield from places(inside, (*above, key))


def test_values_of_another_kind(trials: list[Document], tmp_path: Path) -> None:
    """Each is read as sound or left out; what is read goes into a real database and comes back sound."""
    path, cases, refused = tmp_path / "trials.jsonl", 0, list[str]()
    with database(Database(), tmp_path / "database") as opened:
        study = Study(opened, "tuned", 10.0, 3)
        study.create(9, {})
        study.jobs = study.jobs.with_options(write_concern=WriteConcern(w=1, j=False))  # nothing here must last
        for document in (trials[1], trials[2]):
            for what, other in changed(document):
                path.write_bytes(text_of([trials[0], other]))
                cases += 1
                found = read(path)
                if isinstance(found, str):
                    continue
                assert_sound(found)
                try:
                    restore(study, found)
                except InputError as error:  # a number that BSON has no place for, in what nobody reads
                    refused.append(str(error))
                    continue
                kept = study.documents()
                assert_sound(kept)
                assert len(kept) == sum(trial["state"] in (2, 3) for trial in found), what
                study.jobs.delete_many({})
    assert cases > 800
    assert all(line.startswith("trial ") and "\n" not in line for line in refused)


NONE = [b"\xff\xfe\x00", b"[" * 100_000, b"{}\n" * 3, b"\x00" * 50, b'"a"\n1\nnull\n']


@pytest.mark.parametrize("content", NONE, ids=range(len(NONE)))
def test_what_is_no_export(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_bytes(content)
    found = read(path)
    assert isinstance(found, str) or found == []
    assert isinstance(read(tmp_path), str)


def test_a_trial_that_is_there_twice(trials: list[Document], tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_bytes(text_of([trials[0], trials[1], trials[0]]))
    assert "line 3: trial 0 is there twice" in str(read(path))
