"""Another hyperparameter is two lines of the config, as docs/extending.md says, and nothing of it is lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path("hpc_massmap")
IN_MODEL = "    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0\n"
IN_SPACE = '    dropout: Annotated[Range, Shown("dropout")] = Range(low=0.0, high=0.5)\n'
SCRIPT = """
import io, json
from pathlib import Path
from rich.console import Console
import hpc_massmap
from hpc_massmap.config import Config
from hpc_massmap.report import contents, tuning
from hpc_massmap.report.history import read_trials
from hpc_massmap.report.importance import importance
from hpc_massmap.tune.best import with_best, write_best
from hpc_massmap.tune.export import to_jsonl
from hpc_massmap.tune.monitor.listing import trials_as_csv
from hpc_massmap.tune.monitor.screen import screen
from hpc_massmap.tune.monitor.snapshot import DATABASE, Reading, snapshot
from hpc_massmap.tune.space import hyperparameters, with_trial
from hpc_massmap.tune.suggest import suggest
from tests.tune.made_up import LEASE, NOW, trial

assert Path(hpc_massmap.__file__).parent.parent == Path.cwd()
simulation = {"name": "s", "folder": Path("f"), "snapshots": [1]}
config = Config.model_validate({"name": "wide", "simulations": [simulation]})
documents, widths = [], []
for tid in range(30):
    vals = suggest(tid, documents, config.space, 0, 20)
    one = with_trial(config, hyperparameters(vals, config.space), tid, 1)
    widths.append(one.model.width)
    loss = 0.1 + abs(one.model.width - 3) + 0.001 * tid
    result = {"status": "ok", "loss": loss, "history": [loss], "seconds": [1.0]}
    documents.append(trial(tid, misc={"tid": tid, "vals": vals}, result=result))
write_best(Path("best.yaml"), documents, config)
now = snapshot(Reading(DATABASE, NOW, {}, documents, []), "wide", 30, config.space, LEASE)
shown = io.StringIO()
Console(file=shown, width=160, height=50).print(screen(now, 160, 50))
Path("trials.jsonl").write_text(to_jsonl(documents))
trials = read_trials(Path("trials.jsonl"), config.space)
table, space = contents.trials_table(trials), contents.space_table(config.space, trials)
found = importance(trials)
print(json.dumps({
    "widths": widths,
    "final": with_best(config, Path("best.yaml")).model.width,
    "best.yaml": Path("best.yaml").read_text(),
    "screen": shown.getvalue(),
    "csv": trials_as_csv(now.trials),
    "table": [row[table.columns.index("width")] for row in table.rows],
    "space": [row for row in space.rows if row[0] == "width"],
    "axes": [label.get_text() for label in tuning.parallel_figure(trials).axes[0].get_xticklabels()],
    "importance": next(iter(found.share)),
}))
"""


def test_a_fifth_hyperparameter_reaches_trial_best_final_model_monitor_and_report(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree("tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__", "data"))
    wide = '    width: Annotated[IntegerRange, Shown("width", "W")] = IntegerRange(low=1, high=12)\n'
    for name, after, line in (
        ("network.py", IN_MODEL, "    width: Annotated[int, Field(ge=1, le=16)] = 1\n"),
        ("search.py", IN_SPACE, wide),
    ):
        config = tmp_path / PACKAGE / "config" / name
        text = config.read_text()
        assert after in text
        config.write_text(text.replace(after, after + line))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["widths"]) > {1, 3}  # each trial has its own
    assert told["table"] == told["widths"]
    assert told["final"] == 3
    assert "width: 3\n" in told["best.yaml"]
    best, header = told["screen"].splitlines()[3], next(line for line in told["screen"].splitlines() if "state" in line)
    assert best.endswith("W 3")
    assert " W " in header
    assert told["csv"].splitlines()[0].split(",")[3:8] == ["filters", "kernel", "layers", "dropout", "width"]
    assert told["csv"].splitlines()[1].split(",")[7] == "3"
    assert told["space"] == [["width", None, "1 to 12", 3]]
    assert "width $W$" in told["axes"]
    assert told["importance"] == "width"
