"""Files of a run with a byte changed, an end cut off or other content: one line, a clean redo, or what was written.

Checkpoints and predictions carry checksums, so that no change of what they hold goes unseen. The small text files
have none: a changed letter of them is noticed by what it says, or says something else that is valid.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hpc_massmap.config import load_config
from hpc_massmap.dataset import collaboration, mapfile, parts
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.parts import digests_of_part, write_part
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.maps import cooling
from hpc_massmap.metrics import predictions, results
from hpc_massmap.metrics.predictions import read_predictions, training_of
from hpc_massmap.mpi import communicator
from hpc_massmap.predict.rows import predict_rows
from hpc_massmap.report import history
from hpc_massmap.run import Run, Step
from hpc_massmap.storage import read_json, write_json, write_text
from hpc_massmap.train import checkpoint, trained
from hpc_massmap.train.trained import load_model
from hpc_massmap.tune.best import with_best
from hpc_massmap.tune.database.server import Endpoint, login, publish, published
from hpc_massmap.tune.folders import common_normalisation
from hpc_massmap.yamlfile import dump_yaml, load_yaml
from tests.synthetic import write_synthetic_maps
from tests.trained_run import CONFIG, write_model

FLIPS, CUTS = 300, 40
OTHER = [b"", b"\n", b"null", b"[]", b"1", b'"x"', b"{}", b"[" * 5_000, b"\xff\xfe\x00", bytes(range(256))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the maps, the checkpoint and the predictions of a network of random weights."""
    folder = tmp_path_factory.mktemp("run")
    write_synthetic_maps(folder / "maps.h5", regions=15, snapshots=1, projections=1)
    (folder / "c.yaml").write_text(CONFIG.format(folder=folder, output="point"))
    config = load_config(folder / "c.yaml", ["model.filters=2", "model.layers=1"])
    write_model(folder / "model", config, config.model)
    maps = open_maps(folder / "maps.h5")
    with communicator() as comm:
        rows = split_maps(maps, config.split)
        predict_rows(folder / "predictions.h5", load_model(folder / "model"), maps, rows, "r", comm, lambda _: None)
    return folder


def damaged(data: bytes, flips: int = FLIPS, cuts: int = CUTS) -> Iterator[bytes]:
    """The content of a file, damaged in one way after the other."""
    stream = np.random.default_rng(3)
    for at in stream.integers(len(data), size=flips).tolist():
        yield data[:at] + bytes([data[at] ^ (1 << int(stream.integers(8)))]) + data[at + 1 :]
    yield from (data[:end] for end in np.linspace(0, len(data) - 1, cuts, dtype=int).tolist())
    yield from OTHER


def outcomes(path: Path, read: Callable[[], Any], **how_many: int) -> list[Any]:
    """What each damage gives: the content, or the error's line; the file is whole again at the end."""
    data, found = path.read_bytes(), list[Any]()
    for content in damaged(data, **how_many):
        path.write_bytes(content)
        try:
            found.append(read())
        except InputError as error:
            found.append(error)
    path.write_bytes(data)
    told = [str(one) for one in found if isinstance(one, InputError)]
    assert [line for line in told if "\n" in line or path.name not in line] == []
    return found


def refused(found: list[Any]) -> int:
    return sum(isinstance(one, InputError) for one in found)


def test_checkpoint(run: Path) -> None:
    def read() -> tuple[Any, ...]:
        model = load_model(run / "model")
        weights = torch.cat([value.flatten().double() for value in model.network.state_dict().values()])
        return weights.tolist(), model.normalisation.as_dict(), model.description, model.split, model.digest

    whole, found = read(), outcomes(run / "model" / "best.pt", read)
    assert all(isinstance(one, InputError) or one == whole for one in found)
    assert refused(found) > len(found) / 2


def test_predictions(run: Path) -> None:
    maps = open_maps(run / "maps.h5")
    path = run / "predictions.h5"

    def read() -> tuple[Any, ...]:
        opened = read_predictions(path, maps)
        of = training_of(opened)
        trained = of and (of.rows.tolist(), of.validation.tolist(), of.views)
        tables = opened.name, opened.rows.tolist(), trained
        return *tables, *(array.tobytes() for array in opened.block("mass", slice(None)))

    whole, found = read(), outcomes(path, read, flips=2 * FLIPS)
    assert all(isinstance(one, InputError) or one == whole for one in found)
    assert refused(found) > len(found) / 2


def test_best(run: Path) -> None:
    config = load_config(run / "c.yaml")
    path = run / "best.yaml"
    best = {"tid": 7, "loss": 0.012, "evaluations": 99, "filters": 16, "kernel": 3, "layers": 3, "dropout": 0.125}
    write_text(path, dump_yaml(best))
    found = outcomes(path, lambda: with_best(config, path))
    again = [type(one).model_validate_json(one.model_dump_json()) for one in found if not isinstance(one, InputError)]
    assert again == [one for one in found if not isinstance(one, InputError)]  # another valid number at the most
    assert refused(found) > len(found) / 4


def test_provenance(run: Path) -> None:
    """A step with a damaged record is told, is redone, or is done as it was: its settings say so."""
    output = run / "output"
    output.touch()
    settings: dict[str, Any] = {"train": {"epochs": 3, "rate": 0.1}, "seed": 1}
    step = Step("train", run / "provenance.json", settings, {"maps": "a" * 64}, [output])
    step.finish()
    found = outcomes(step.record, lambda: step.is_finished(force=False))
    assert set(map(type, found)) == {bool, InputError}
    assert not any(one is True for one in found[-len(OTHER) :])
    assert step.is_finished(force=False)
    step.record.write_bytes(b"\xff")
    assert not step.is_finished(force=True)
    assert not output.exists()


def test_endpoint(run: Path) -> None:
    endpoint = Endpoint("node-1", 27017, 4711, "node-1", "/scratch/data", 4700)
    publish(run, endpoint)
    found = outcomes(run / "endpoint.json", lambda: published(run))
    types = [type(value) for value in asdict(endpoint).values()]
    assert all([type(value) for value in asdict(one).values()] == types for one in found if isinstance(one, Endpoint))
    assert all(0 < one.port < 65536 and one.pid > 0 for one in found if isinstance(one, Endpoint))


@pytest.mark.parametrize("key", list(Endpoint.__dataclass_fields__))
@pytest.mark.parametrize("value", [None, -1, 0, 10**30, 1.5, True, "", "x\ny", [], {}, ...], ids=repr)
def test_values_of_an_endpoint(key: str, value: Any, tmp_path: Path) -> None:
    right = asdict(Endpoint("node-1", 27017, 4711, "node-1", "/scratch/data", 4700))
    content = {**right, key: value} if value is not ... else {name: right[name] for name in right if name != key}
    (tmp_path / "endpoint.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"endpoint\.json: not an endpoint"):
        published(tmp_path)


def test_credentials(run: Path) -> None:
    path = run / "credentials.json"
    write_json(path, {"user": "massmap", "password": "secret" * 5}, mode=0o600)
    found = outcomes(path, lambda: login(path))
    assert all(isinstance(word, str) for one in found if not isinstance(one, InputError) for word in one)
    assert refused(found) > len(found) / 4


@pytest.mark.parametrize("value", [None, 1, "", "a\x00b", [], {}, ...], ids=repr)
@pytest.mark.parametrize("key", ["user", "password"])
def test_values_of_credentials(key: str, value: Any, tmp_path: Path) -> None:
    right = {"user": "massmap", "password": "secret"}
    path = tmp_path / "credentials.json"
    write_json(path, {**right, key: value} if value is not ... else {n: right[n] for n in right if n != key}, 0o600)
    with pytest.raises(InputError, match=r"credentials\.json: must be a JSON file"):
        login(path)


def test_normalisation_of_the_trials(run: Path) -> None:
    config = load_config(run / "c.yaml")
    opened = Run(config, run)
    path = run / "trials" / "normalisation.json"
    measured = common_normalisation(opened, write=True)
    assert common_normalisation(opened, write=False) == measured
    assert all(
        one == measured for one in outcomes(path, lambda: common_normalisation(opened, write=False), flips=60, cuts=5)
    )


READERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("best.pt", lambda path: load_model(path.parent)),
    ("predictions.h5", lambda path: read_predictions(path, open_maps(path))),
    ("best.yaml", load_yaml),
    ("provenance.json", read_json),
    ("endpoint.json", lambda path: published(path.parent)),
    ("credentials.json", login),
]


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_a_directory_in_its_place(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / name).mkdir(mode=0o700)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "inside", "used"),
    [
        ("maps.h5", mapfile, "check_in_one_piece"),
        ("maps.h5", mapfile, "values_of"),
        ("part.h5", parts, "has_sound_heaps"),
        ("table.h5", cooling, "values_of"),
        ("best.pt", checkpoint, "hashlib"),
        ("best.pt", trained, "validated"),
        ("predictions.h5", predictions, "names_in"),
        ("block", predictions, "checksums_of"),
        ("metrics.h5", results, "read_fields"),
        ("log.csv", history, "TrainingLog"),
        ("finished.h5", collaboration, "names_in"),
    ],
)
def test_a_slip_of_ours_is_not_told_as_damage(
    name: str, inside: ModuleType, used: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that a reader uses becomes one that is nothing: it cannot be called and has no attributes."""
    write_part(tmp_path / "part.h5", "key", [{"sz": np.ones((2, 80, 80))}])
    axis = np.array([1.0, 2.0])
    cooling.write_cooling_table(
        tmp_path / "table.h5", cooling.CoolingTable(axis, axis, np.ones((2, 2)), "AG89", 0.02, "made for a test")
    )
    with h5py.File(tmp_path / "metrics.h5", "w") as file:
        file.attrs.update({"name": "r", "maps_digest": "0", "mass_intervals": [1.0, 2.0], "targets": ["mass"]})
        file.create_group("maps")
    (tmp_path / "log.csv").write_text("epoch,train_loss,validation_loss,learning_rate,seconds\n1,1,1,1,1\n")
    maps = open_maps(run / "maps.h5")
    opened = read_predictions(run / "predictions.h5", maps)
    readers: dict[str, Callable[[], Any]] = {
        "maps.h5": lambda: open_maps(run / "maps.h5"),
        "part.h5": lambda: digests_of_part(tmp_path / "part.h5", "key"),
        "table.h5": lambda: cooling.read_cooling_table(tmp_path / "table.h5"),
        "best.pt": lambda: load_model(run / "model"),
        "predictions.h5": lambda: read_predictions(run / "predictions.h5", maps),
        "block": lambda: opened.block("mass", slice(None)),
        "metrics.h5": lambda: results.read_metrics(tmp_path / "metrics.h5"),
        "log.csv": lambda: history.read_training_log(tmp_path / "log.csv"),
        "finished.h5": lambda: collaboration.read_sources(
            [run / "maps.h5"], ["s"], collaboration.Assumed(0.7, 0.3, {None: 0.0})
        ),
    }
    monkeypatch.setattr(inside, used, object())
    with pytest.raises((TypeError, AttributeError)):
        readers[name]()
