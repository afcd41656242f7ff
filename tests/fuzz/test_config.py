"""Every key of a config with every kind of wrong value: one line that names the key, or a config that means it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hpc_massmap.cluster.site import Site
from hpc_massmap.config import Config
from hpc_massmap.errors import InputError
from hpc_massmap.yamlfile import validated

WRONG: list[Any] = [None, -1, 0, 1, 1.5, 1e30, True, "", "words", "../..", [], [None], [1, "a"], {}, {"x": 1}]


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values, sections and lists included."""
    if path:
        yield path
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, key))


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place; with `...` without the key."""
    key, *rest = path
    copy = data.copy()
    if rest:
        copy[key] = changed(data[key], tuple(rest), value)
    elif value is ...:
        del copy[key]
    else:
        copy[key] = value
    return copy


def cases(data: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for path in leaves(data):
        yield from ((path, changed(data, path, value)) for value in [..., *WRONG])
        section = data
        for key in path[:-1]:
            section = section[key]
        if isinstance(section, dict):
            yield path, changed(data, (*path[:-1], "no_such_key"), 1)


CONFIG = {"mock": {}, "tune": {"pruning": {}}, "selection": {"flat": {"bin_width": 0.1, "per_bin": 10}}}
SITE = {"partition": "p", "database": {"kind": "mongod", "data": "/tmp/x"}, "sbatch": {"reservation": "night"}}


@pytest.mark.parametrize(("kind", "some"), [(Config, CONFIG), (Site, SITE)])
def test_every_key_with_every_wrong_value(kind: type[Config] | type[Site], some: dict[str, Any]) -> None:
    minimal = {"name": "x", "simulations": [{"name": "s", "folder": "f", "snapshots": [1]}]} if kind is Config else {}
    whole = kind.model_validate_json(json.dumps({**minimal, **some})).model_dump(mode="json")
    told: list[tuple[tuple[Any, ...], str]] = []
    n = 0
    for where, data in cases(whole):
        n += 1
        try:
            loaded = validated(kind, data, {}, "fuzzed.yaml")
        except InputError as error:
            told.append((where, str(error)))
        else:
            assert validated(kind, loaded.model_dump(mode="json"), {}, "again.yaml") == loaded, where
    assert n > (2000 if kind is Config else 400)
    assert len(told) > n / 2
    assert not [case for case in told if "\n" in case[1]]
    assert not [case for case in told if not any(str(key) in case[1] for key in (*case[0], "no_such_key"))]
