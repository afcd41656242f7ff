"""What a person is told of keys: in the schema, in editors, by `massmap config`."""

import json
from itertools import chain
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from hpc_massmap.cluster.site import Site
from hpc_massmap.config import Config, load_config
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import config
from hpc_massmap.keys import completions, differences, keys_of, schema_of_file
from hpc_massmap.yamlfile import load_yaml

SCHEMAS: dict[str, tuple[type[BaseModel], str]] = {"configs": (Config, "config"), "configs/sites": (Site, "site")}


def test_every_key_is_described() -> None:
    for schema in (Config, Site):
        found = [Config.model_fields, *(kind["properties"] for kind in schema.model_json_schema()["$defs"].values())]
        undescribed = [name for name, field in keys_of(schema) if not field.description]
        undescribed += [name for its in found[1:] for name, field in its.items() if "description" not in field]
        assert [name for name in undescribed if name not in ("$ref",)] == []
    assert len(list(keys_of(Config))) > 80


@pytest.mark.parametrize("folder", SCHEMAS)
def test_the_published_schema_is_that_of_the_code(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`massmap config schema > configs/config.schema.json`, with --site for that of sites, writes them anew."""
    _, name = SCHEMAS[folder]
    config.main(["schema", *(["--site"] if name == "site" else [])])
    assert Path(folder, f"{name}.schema.json").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("folder", SCHEMAS)
def test_each_shipped_file_names_its_schema_and_keeps_it(folder: str) -> None:
    schema, name = SCHEMAS[folder]
    validator = Draft202012Validator(schema_of_file(schema, ""))
    paths = sorted(Path(folder).glob("*.yaml"))
    for path in (path for path in paths if path.name != "local.yaml"):
        assert path.read_text().startswith(f"# yaml-language-server: $schema={name}.schema.json\n")
        assert [error.message for error in validator.iter_errors(load_yaml(path))] == []
    assert paths
    assert [error.message for error in validator.iter_errors({"nonsense": 1})] != []


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shown_config_is_the_config(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.main(["show", str(path), "train.epochs=33"])
    shown = capsys.readouterr().out
    (tmp_path / "shown.yaml").write_text(shown)
    assert load_config(tmp_path / "shown.yaml") == load_config(path, ["train.epochs=33"])
    assert "  epochs: 33  # command line\n" in shown


def test_each_value_shows_where_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    config.main(["show", "configs/demo_two.yaml"])
    shown = capsys.readouterr().out.splitlines()
    assert "  epochs: 8  # configs/demo_two.yaml" in shown
    assert "  batch_size: 16  # configs/demo.yaml" in shown
    assert "  threads: 1" in shown
    assert "database:" in shown


def test_configs_are_checked_each_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: a\ntrian: 1\n")
    with pytest.raises(InputError, match="1 of 2 configs are wrong"):
        config.main(["check", "configs/demo.yaml", str(wrong)])
    assert capsys.readouterr().out == (f"configs/demo.yaml: fine\n{wrong}: trian: unknown key; did you mean train?\n")


def test_two_configs_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    config.main(["diff", "configs/star.yaml", "configs/sz.yaml"])
    assert capsys.readouterr().out == "name: star | sz\nmodel.views: ['star'] | ['sz']\n"
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 1}) == {"a.c": (2, 3)}


def test_a_word_goes_on_as_the_schema_says() -> None:
    assert completions(Config, "train.late") == ["train.late_learning_rate=", "train.late_after="]
    assert completions(Config, "tune.pruning.f") == ["tune.pruning.first="]
    assert completions(Config, "train.augment=") == ["train.augment=true", "train.augment=false"]
    assert completions(Config, "database.kind=") == [
        f"database.kind={kind}" for kind in ("embedded", "mongod", "external")
    ]
    assert completions(Config, "train.epochs=") == []


def test_a_file_that_extends_may_leave_out_what_its_parent_has() -> None:
    schema = json.loads(json.dumps(schema_of_file(Config, "")))
    needed = {name: its.get("required") for name, its in chain(schema["$defs"].items(), [("", schema)])}
    assert {name for name, keys in needed.items() if keys} == {"Simulation"}
    assert "extends" in schema["properties"]
