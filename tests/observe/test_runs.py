"""Runs that see their maps through telescopes: trained, resumed, predicted, compared with what was seen."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import hpc_massmap as mm
from hpc_massmap.config import Config, Observe, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import evaluate, predict, train
from hpc_massmap.metrics.predictions import read_predictions
from hpc_massmap.observe.observation import described, observed
from hpc_massmap.predict.members import joined
from hpc_massmap.report.inputs import read_inputs
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import LAST, Callbacks, Pause, fit, settings_of
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.trained import load_model
from hpc_massmap.train.trainer import Trainer
from hpc_massmap.tune.folders import common_normalisation
from tests.synthetic import write_synthetic_maps

CONFIG = """
name: seen
runs: {folder}/runs
simulations: [{{name: synthetic, folder: nowhere, snapshots: [1]}}]
maps: {{file: {folder}/maps.h5}}
model: {{views: [sz, xray], filters: 2, layers: 1}}
train: {{precision: fp32, epochs: 2, batch_size: 8}}
observe:
  redshift: [0.05, 0.1]
  r200_scatter: 0.1
  view_dropout: 0.3
  views:
    sz: {{beam: {{fwhm: 1.0}}, noise: {{depth: 20, frequency: 150}}}}
    xray: {{counts: {{exposure: 1.0e+4, conversion: 1.0e+8, background: 1.0e-3}}}}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a run whose training is done."""
    folder = tmp_path_factory.mktemp("seen")
    write_synthetic_maps(folder / "maps.h5", regions=20, snapshots=1, projections=2)
    (folder / "seen.yaml").write_text(CONFIG.format(folder=folder))
    train.main([str(folder / "seen.yaml")])
    return folder / "seen.yaml"


def ideal(config: Config) -> Any:
    return open_maps(config.maps.file)


def test_the_normalisation_is_of_what_is_seen(path: Path) -> None:
    config = load_config(path)
    model = load_model(Run.of(config).model)
    assert model.observe == config.observe
    maps = ideal(config)
    rows = split_maps(maps, config.split).train
    seen = observed(maps, config.observe, config.model.views)
    for view in ("sz", "xray"):
        assert model.normalisation.mean[view] == pytest.approx(float(seen.maps[view][rows].mean()), rel=1e-5)
        assert model.normalisation.std[view] != pytest.approx(float(maps.maps[view][rows].std()), rel=0.01)
    assert model.normalisation.std["mass"] == pytest.approx(float(maps.maps["mass"][rows].std()), rel=1e-5)


def test_all_trials_of_a_study_have_the_normalisation_of_what_is_seen(path: Path) -> None:
    run = Run.of(load_config(path))
    assert common_normalisation(run, write=True) == load_model(run.model).normalisation
    ideal_run = Run.of(load_config(path).model_copy(update={"observe": Observe()}))
    assert common_normalisation(ideal_run, write=False) != load_model(run.model).normalisation


def test_in_python_a_map_file_is_seen_as_on_the_command_line(path: Path) -> None:
    run = Run.of(load_config(path))
    predict.main([str(path)])
    maps = mm.open_maps(run.maps)
    with h5py.File(run.predictions) as file:
        rows, predicted = file["index/row"][:], file["predictions/mass"][:]
    found = mm.load_model(run.folder).predict(maps).maps["mass"].value
    np.testing.assert_allclose(found[rows], predicted, rtol=1e-3, atol=1e3)


def test_a_training_that_is_stopped_sees_the_same_again(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    maps, found = ideal(config), []

    def pause(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (1, 2):
            raise Pause

    for folder, callbacks in (("calm", None), ("paused", Callbacks(on_step=pause)), ("paused", None)):
        torch.set_num_threads(1)
        try:
            fit(maps, split_maps(maps, config.split), config, Ranks(), tmp_path / folder, callbacks)
        except Pause:
            continue
        found.append(load_checkpoint(tmp_path / folder / LAST)["model"])
    for calm, resumed in zip(found[0].values(), found[1].values(), strict=True):
        assert torch.equal(calm, resumed)
    other = config.with_values("observe", seed=9)
    with pytest.raises(InputError, match="a checkpoint of another model, recipe or map file"):
        fit(maps, split_maps(maps, config.split), other, Ranks(), tmp_path / "calm")


def test_each_epoch_sees_other_noise_and_lacks_other_views_while_the_validation_stays(path: Path) -> None:
    config = load_config(path)
    maps = ideal(config)
    trainer = Trainer(
        maps, split_maps(maps, config.split), config, Ranks(), load_model(Run.of(config).model).normalisation
    )
    first, again, other = (list(trainer._batches(epoch, 0)) for epoch in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.views, two.views)
    views = []
    for epoch in (first, other):
        order = np.argsort(np.concatenate([batch.rows for batch in epoch]))
        views.append(torch.cat([batch.views for batch in epoch])[order])
    assert not torch.equal(*views)
    away = [(stack == 0).all(dim=(2, 3)) for stack in views]
    assert away[0].any()
    assert not away[0].all(dim=1).any()
    assert not torch.equal(*away)
    seen = [torch.cat([batch.views for batch in trainer.validation.in_order()]) for _ in range(2)]
    assert torch.equal(*seen)
    assert not (seen[0] == 0).all(dim=(2, 3)).any()


def test_without_telescopes_settings_are_what_they_were(path: Path) -> None:
    off = load_config(path).model_copy(update={"observe": Observe(redshift=0.2, seed=3)})
    assert "observe" not in settings_of(off)
    assert "observe" in settings_of(load_config(path))


def test_predictions_metrics_and_report_are_of_what_is_seen(path: Path) -> None:
    config = load_config(path)
    predict.main([str(path)])
    run = Run.of(config)
    predictions = read_predictions(run.predictions, ideal(config))
    maps, rows = ideal(config), predictions.rows
    seen = observed(maps, config.observe, config.model.views)
    for view in ("sz", "xray"):
        np.testing.assert_array_equal(predictions.maps.maps[view][rows], seen.maps[view][rows])
    model = load_model(run.model)
    stack = torch.from_numpy(np.stack([seen.maps[view][rows] for view in ("sz", "xray")], 1))
    with torch.inference_mode():
        by_hand = model.normalisation.invert(model.network(model.normalisation.apply(stack, ["sz", "xray"])), ["mass"])
    np.testing.assert_allclose(predictions.block("mass", slice(None))[0], by_hand[:, 0], rtol=1e-3, atol=1e3)
    evaluate.main([str(path)])
    said = described(read_inputs(run).predictions.observe)
    assert said == (
        "The views are as telescopes see them: sz with beam, noise; xray with counts; at redshift 0.05 to 0.1; "
        "centres off by 0 R200 along each axis, R200 by 10%."
    )
    assert read_inputs(run).predictions.maps.maps["sz"][0].min() < 0  # what the figures show, too
    assert read_json(run.folder / "provenance" / "predict.json")["settings"]["observe"]["r200_scatter"] == 0.1


def test_other_telescopes_are_for_another_folder(path: Path, tmp_path: Path) -> None:
    deeper = "observe.views.sz.noise.depth=5"
    with pytest.raises(InputError, match=r"trained with observe.views.sz.noise.depth = 20.0, now 5.0; for other"):
        predict.main([str(path), deeper])
    config = load_config(path)
    maps = ideal(config)
    where = ["--maps", str(config.maps.file), "--out", str(tmp_path / "deep")]
    predict.main([str(path), deeper, *where])
    found = read_predictions(tmp_path / "deep" / "predictions.h5", maps)
    np.testing.assert_array_equal(found.rows, split_maps(maps, config.split).test)
    wanted = observed(maps, load_config(path, [deeper]).observe, config.model.views)
    np.testing.assert_array_equal(found.maps.maps["sz"][found.rows], wanted.maps["sz"][found.rows])
    with pytest.raises(InputError, match="predict was done with observe"):
        predict.main([str(path), *where])


def test_a_damaged_word_on_telescopes_is_one_line(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    copy = tmp_path / "predictions.h5"
    predict.main([str(path)])
    copy.write_bytes(Run.of(config).predictions.read_bytes())
    with h5py.File(copy, "r+") as file:
        file.attrs["observe"] = '{"redshift": "nowhere"}'
    with pytest.raises(InputError, match="its attribute observe is damaged, or of another version"):
        read_predictions(copy, ideal(config))


def test_an_ensemble_is_of_one_observation(path: Path, tmp_path: Path) -> None:
    config = load_config(path, [f"runs={tmp_path}", "name=other", "observe.seed=5", "train.epochs=1"])
    maps = ideal(config)
    fit(maps, split_maps(maps, config.split), config, Ranks(), tmp_path / "other")
    with pytest.raises(InputError, match="its observe is not that of"):
        joined([Run.of(load_config(path)).model, tmp_path / "other"])


def test_what_cannot_be_seen_is_refused_before_anything_is_trained(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wider than the map of halo"):
        train.main([str(path), f"runs={tmp_path}", "observe.views.sz.beam.fwhm=500"])
    assert not (tmp_path / "seen").exists()
