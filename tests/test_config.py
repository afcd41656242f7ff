"""The config: inheritance, overrides, and one line for every mistake."""

import math
from pathlib import Path

import pytest

from hpc_massmap.cluster.site import load_site, refuse_site
from hpc_massmap.config import Config, load_config, load_with_origins
from hpc_massmap.errors import InputError, line_of
from hpc_massmap.yamlfile import dump_yaml, parsed

CONFIGS = sorted(Path("configs").glob("*.yaml"))

MINIMAL = "name: x\nsimulations: [{name: s, folder: f, snapshots: [1]}]\n"


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem != "paper"], ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_reads_back_the_same(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_yaml(config.model_dump(mode="json")))
    assert load_config(resolved) == config


def test_the_paper_s_recipe_word_for_word() -> None:
    config = load_config(Path("configs/multi3.yaml"))
    assert (config.train.learning_rate, config.train.late_learning_rate, config.train.late_after) == (1e-4, 1e-5, 50)
    assert (config.train.epochs, config.train.patience, config.tune.evaluations) == (100, 5, 100)
    assert (config.space.filters.low, config.space.filters.high) == (8, 32)
    assert (config.space.kernel.low, config.space.kernel.high) == (1, 6)
    assert (config.space.layers.low, config.space.layers.high) == (1, 4)
    assert (config.space.dropout.low, config.space.dropout.high) == (0.0, 0.5)
    assert (config.split.train, config.split.validation) == (0.8, 0.1)


def test_a_child_overrides_its_parent_key_by_key(minimal: Path) -> None:
    child = minimal.with_name("child.yaml")
    child.write_text("extends: x.yaml\nname: child\ntrain: {epochs: 7}\n")
    grandchild = minimal.with_name("grandchild.yaml")
    grandchild.write_text("extends: child.yaml\ntrain: {patience: 2}\n")
    config = load_config(grandchild, ["train.threads=3", "maps.file=elsewhere/m.h5"])
    assert (config.name, config.train.epochs, config.train.patience, config.train.threads) == ("child", 7, 2, 3)
    assert config.maps.file == Path("elsewhere/m.h5")


def test_of_several_parents_the_last_goes_over_those_before(minimal: Path) -> None:
    for name, train in (("one", "{epochs: 7, patience: 4}"), ("other", "{epochs: 9}")):
        minimal.with_name(f"{name}.yaml").write_text(f"train: {train}\n")
    child = minimal.with_name("child.yaml")
    child.write_text("extends: [x.yaml, one.yaml, other.yaml]\nname: child\n")
    config, origins = load_with_origins(child)
    assert (config.name, config.train.epochs, config.train.patience) == ("child", 9, 4)
    assert [Path(origins[f"train.{key}"]).stem for key in ("epochs", "patience")] == ["other", "one"]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epoch=2", ["train.epoch", "unknown key", "did you mean epochs?"]),
        ("frobnicate=1", ["frobnicate", "unknown key", "allowed:"]),
        ("train.batch_size=0", ["train.batch_size = 0", "greater than or equal to 1"]),
        ("train.epochs=two", ['train.epochs = "two"', "integer"]),
        ("train.epochs=2.5", ["train.epochs = 2.5", "integer"]),
        ("model.kernel=true", ["model.kernel = true", "integer"]),
        ("model.dropout=.nan", ["model.dropout", "finite"]),
        ("model.encoders=two", ["model.encoders", "'one' or 'per_view'"]),
        ("split.train=0.95", ["train + validation must be less than 1"]),
        ("space.filters.low=40", ["low must not exceed high"]),
        ("space.layers.high=5", ["less than or equal to 4"]),
        ("evaluate.mass_intervals=[2,1]", ["must increase"]),
        ("database.kind=external", ["needs it"]),
        ("train.epochs.x=1", ["train.epochs has no keys below it"]),
        ("train", ["not of the form key.sub=value"]),
        ("train.epochs=[", ["not valid YAML"]),
        ("train.epochs=2024-13-45", ["not valid YAML"]),
        ("data=&a [*a]", ["not valid YAML"]),
        ("name=../escape", ["name", "pattern"]),
        ("seed=-1", ["seed = -1", "greater than or equal to 0"]),
        ("seed=18446744073709551616", ["seed", "less than or equal to 2147483647"]),
        ("tune.evaluations=99999999999999999999", ["tune.evaluations", "less than or equal to 2147483647"]),
        ("train.threads=1000000", ["train.threads", "less than or equal to 1024"]),
        ("train.learning_rate=1.0e+300", ["train.learning_rate", "less than or equal to 1000000"]),
        ("model.kernel=81", ["model.kernel = 81", "less than or equal to 80"]),
        ("model.views=[sz,sz]", ["model", "sz is named twice in views and targets"]),
        ("model.views=[mass]", ["model", "mass is named twice in views and targets"]),
    ],
)
def test_a_bad_override_is_one_line_that_names_key_and_remedy(minimal: Path, override: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        load_config(minimal, [override])
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("command line: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: [", "line 1 not valid YAML"),
        ("- a\n- b\n", "must be a mapping"),
        (f"{MINIMAL}train: {{epochs: 1}}\ntrain: {{epochs: 2}}\n", "duplicate key"),
        ("simulations: [{name: s, folder: f, snapshots: [1]}]\n", "name: missing"),
        (f"{MINIMAL}extends: nowhere.yaml\n", "no such config file"),
        (f"{MINIMAL}extends: bad.yaml\n", "extends itself"),
        (f"{MINIMAL}extends: [nowhere.yaml]\n", "no such config file"),
        (f"{MINIMAL}extends: [3]\n", "extends: must be the name of a file, or a list of names"),
        (f"{MINIMAL}train: {{lr: 1}}\n", "train.lr: unknown key"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_config(path)
    assert "\n" not in str(error.value)
    assert str(path.parent) in str(error.value)
    assert part in str(error.value)


def test_a_file_of_another_kind_is_told_as_such(minimal: Path) -> None:
    latin = minimal.with_name("latin.yaml")
    latin.write_bytes(b"name: caf\xe9\n")
    site = Path("configs/sites/gpu.yaml")
    for path, part in ((latin, "save it as UTF-8"), (minimal.parent, "a folder")):
        with pytest.raises(InputError, match=f"{path}: .*{part}"):
            load_config(path)
    with pytest.raises(InputError, match=f"{site}: a site file, not a config; give it with --site"):
        refuse_site(site)
    refuse_site(minimal)
    for path in (minimal, Path("configs/multi1.yaml")):
        with pytest.raises(InputError, match=f"{path}: a config, not a site file"):
            load_site(path)


def test_an_alias_to_itself_is_told(minimal: Path) -> None:
    minimal.write_text("name: &a {x: *a}\n")
    with pytest.raises(InputError, match="not valid YAML: too deep or too long; has it an alias to itself"):
        load_config(minimal)


@pytest.mark.parametrize(
    "value",
    [
        "!!bool abc",
        "!!int abc",
        "!!binary aGVsbG8=",
        "!!set {a, b}",
        r'"\UFFFFFFFF"',
        r'"\ud800"',
        r'"\0"',
        "2020-13-45",
        "9" * 5000,
        "{[1, 2]: 3}",
        "{2020-01-01: 3}",
        "[" * 60 + "]" * 60,
        # aliases of aliases: 8^6 values
        "[&a [0, 0, 0, 0, 0, 0, 0, 0], &b [*a, *a, *a, *a, *a, *a, *a, *a], &c [*b, *b, *b, *b, *b, *b, *b, *b], "
        "&d [*c, *c, *c, *c, *c, *c, *c, *c], &e [*d, *d, *d, *d, *d, *d, *d, *d], [*e, *e, *e, *e, *e, *e, *e, *e]]",
    ],
)
def test_what_is_no_plain_data_is_told(minimal: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"^command line: data=.*: the value is not valid YAML$"):
        load_config(minimal, [f"data={value}"])
    minimal.write_text(f"{MINIMAL}data: {value}\n")
    with pytest.raises(InputError, match=f"^{minimal}:.* not valid YAML: "):
        load_config(minimal)


def test_a_date_is_its_text(minimal: Path) -> None:
    assert load_config(minimal, ["data=2020-01-01"]).data == "2020-01-01"


def test_a_key_of_a_thousand_levels_is_told(minimal: Path) -> None:
    with pytest.raises(InputError, match=r"not of the form key\.sub=value$"):
        load_config(minimal, [f"{'a.' * 1000}b=1"])


def test_an_error_of_a_name_with_two_lines_is_one(tmp_path: Path) -> None:
    for error in (InputError(f"{tmp_path}/a\nb: wrong"), IsADirectoryError(21, "a folder", f"{tmp_path}/a\nb")):
        assert (line_of(error) or "").startswith(f"{tmp_path}/a\\nb: ")


def test_a_whole_section_is_not_printed(minimal: Path) -> None:
    with pytest.raises(InputError, match=r"^command line: train: warmup = 1000 must be less"):
        load_config(minimal, ["train.warmup=1000"])


def test_the_error_names_the_file_that_holds_the_key(minimal: Path) -> None:
    parent = minimal.with_name("parent.yaml")
    parent.write_text(f"{MINIMAL}train: {{epochs: -1}}\n")
    child = minimal.with_name("child.yaml")
    child.write_text("extends: parent.yaml\nname: child\n")
    with pytest.raises(InputError, match=r"parent\.yaml: train\.epochs = -1"):
        load_config(child)


def test_with_values_checks_what_it_sets(minimal: Path) -> None:
    config: Config = load_config(minimal)
    assert config.with_values("model", filters=9).model.filters == 9
    with pytest.raises(InputError, match=r"model\.layers = 9"):
        config.with_values("model", layers=9)


def test_plain_words_are_what_they_look_like(minimal: Path) -> None:
    """YAML 1.2: 1e-4 is a number, `on` and `no` are words, 010 is ten, 1:30 is no number of seconds."""
    words: dict[str, object] = {
        "1e-4": 1e-4, "1.0e-4": 1e-4, "-1E3": -1000.0, ".5": 0.5, "1.": 1.0, "010": 10, "0x10": 16, "0o10": 8,
        "1_000": 1000, "-7": -7, "true": True, "False": False, "null": None, "~": None, "": None, "on": "on",
        "no": "no", "yes": "yes", "y": "y", "1:30": "1:30", "e5": "e5", "1e": "1e", ".": ".",
        "2020-01-01": "2020-01-01", "'1e-4'": "1e-4", "sz": "sz",
    }  # fmt: skip
    for text, value in words.items():
        found = parsed(f"x: {text}")["x"]
        assert (type(found), found) == (type(value), value), text
    assert math.isnan(parsed("x: .nan")["x"])
    assert parsed("x: -.inf")["x"] == -math.inf


@pytest.mark.parametrize(
    "value", ["on", "no", "1e-4", "010", "1:30", "2020-01-01", "~", "", "a: b", "é", "<<", "=", "#x"]
)
def test_text_comes_back_as_text(value: str) -> None:
    data = {"x": value, value or "empty": [1e-4, 1, True, None, 1e300]}
    assert parsed(dump_yaml(data)) == data
    assert list(parsed(dump_yaml(data))) == list(data)


@pytest.mark.parametrize(
    "text",
    ["a: 1\nb: {c: 1, c: 2}\n", "a: 1\n\n'a': 2\n", "x: [{a: 1, b: 2,\n a: 3}]\n"],
)
def test_a_key_twice_is_told_with_its_line(minimal: Path, text: str) -> None:
    minimal.write_text(text)
    line = len(text.rstrip().splitlines())
    with pytest.raises(InputError, match=rf"^{minimal}: line {line} not valid YAML: duplicate key '[ac]'$"):
        load_config(minimal)


def test_a_merged_key_may_be_set_again() -> None:
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: *b, x: 4}\n"
    assert parsed(text) == {"base": {"x": 1, "y": 2}, "one": {"x": 1, "y": 3}, "two": {"x": 4, "y": 2}}
