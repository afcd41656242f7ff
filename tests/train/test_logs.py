"""What a training tells: notes for those who watch, TensorBoard events, a trace."""

import json
import struct
import time
from pathlib import Path

import pytest
import torch
from tensorboardX.proto import event_pb2

from hpc_massmap.config import Config, Train
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.run import NOTES
from hpc_massmap.train import logs
from hpc_massmap.train.final import _where, how_it_went
from hpc_massmap.train.loop import fit
from hpc_massmap.train.profile import STEPS, profile
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.train.recipe import Epoch


def epochs(n: int) -> list[Epoch]:
    return [Epoch(e + 1, 0.5 - e / 100, 0.6 - e / 100, 1e-4, 1.0, 50.0) for e in range(n)]


def test_notes_tell_speed_and_time_left(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps of 8 maps in an epoch, a step every two seconds, three epochs."""
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    noting = logs.notes(tmp_path / NOTES, config.train, CPU)
    for step in range(3, 11):  # resumed at step 2
        clock += 2.0
        noting.on_step(0, step, 10)
    noting.on_epoch(epochs(1))
    clock += 2.0
    noting.on_step(1, 1, 10)
    told = json.loads((tmp_path / NOTES).read_text())
    assert (told["epoch"], told["step"], told["steps"], told["validation_loss"]) == (2, 1, 10, 0.6)
    assert told["images_per_second"] == pytest.approx(4.0)
    assert told["seconds_left"] == pytest.approx(19 * 2.0)
    done, words, left = _where(tmp_path, config)
    assert done == 1
    assert words.startswith("epoch 2/3, step 1/10, validation loss 0.6000 (best 0.6000 of epoch 1), 4 images/s, ")
    assert words.endswith(" GiB")
    assert left == pytest.approx(38.0)
    noting.on_epoch(epochs(2))
    assert _where(tmp_path, config)[0] == 2


@pytest.mark.parametrize(
    ("losses", "first"),
    [
        ([0.5, 0.4, 0.3], "trained 3 of at most 3 epochs"),
        ([0.3, 0.4], "trained 2 of at most 3 epochs; stopped early: none of the last 5 was better"),
    ],
)
def test_an_ended_training_says_why_and_which_epoch_is_the_best(
    losses: list[float], first: str, tmp_path: Path, config: Config
) -> None:
    rows = "".join(f"{n + 1},{loss}\n" for n, loss in enumerate(losses))
    (tmp_path / "log.csv").write_text(f"epoch,validation_loss\n{rows}")
    best = losses.index(min(losses)) + 1
    second = f"the best is epoch {best}, validation loss 0.3000: {tmp_path / 'best.pt'}"
    assert how_it_went(tmp_path, config.with_values("train", patience=5)) == (first, second)


def events_of(folder: Path) -> list[tuple[str, int, float]]:
    """What TensorBoard shows: records are a length, its check, an event, its check; a start voids what is later."""
    parse = event_pb2.Event.FromString
    shown: list[tuple[str, int, float]] = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = parse(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log"):
                shown = [known for known in shown if known[1] < event.step]
            shown += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return shown


def test_events_are_neither_missing_nor_double_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    logs.events(tmp_path, CPU)(epochs(2))
    monkeypatch.setattr(time, "time", lambda: now + 10)  # files are named by their second
    resumed = logs.events(tmp_path, CPU)  # by a process that was killed after its third epoch was stored
    resumed(epochs(4))
    resumed(epochs(5))
    assert len(list(tmp_path.iterdir())) == 2
    shown = events_of(tmp_path)
    for tag, first in (("loss/train", 0.5), ("loss/validation", 0.6)):
        told = [(step, value) for name, step, value in shown if name == tag]
        assert [step for step, _ in told] == [1, 2, 3, 4, 5]
        assert [value for _, value in told] == pytest.approx([first - e / 100 for e in range(5)])
    assert {name for name, *_ in shown} >= {"learning_rate", "images_per_second", "peak_memory_gib"}


def test_events_are_kept_when_a_finished_training_is_asked_for_again(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    maps, now = open_maps(map_path), time.time()
    rows = split_maps(maps, config.split)
    fit(maps, rows, config, Ranks(), tmp_path, logs.logs(tmp_path, config.train, CPU))
    before = {(tag, step) for tag, step, _ in events_of(tmp_path / logs.EVENTS)}
    monkeypatch.setattr(time, "time", lambda: now + 10)  # files are named by their second
    fit(maps, rows, config, Ranks(), tmp_path, logs.logs(tmp_path, config.train, CPU))
    assert before == {(tag, step) for tag, step, _ in events_of(tmp_path / logs.EVENTS)} | {
        ("peak_memory_gib", n) for n in (1, 2)
    }


def test_a_trace_of_a_few_steps(map_path: Path, config: Config, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    maps = open_maps(map_path)
    rows = split_maps(maps, config.split)
    small = config.with_values("train", batch_size=2)
    table = profile(maps, rows, small, Ranks(), tmp_path / "logs" / "trace.json")
    assert "convolution" in table
    events = json.loads((tmp_path / "logs" / "trace.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if str(event.get("name", "")).startswith("ProfilerStep#")}
    assert len(steps) == STEPS
    with pytest.raises(InputError, match="too short to profile"):
        profile(maps, rows, config, Ranks(), tmp_path / "trace.json")


def test_a_training_has_no_note_before_its_second_step(tmp_path: Path) -> None:
    noting = logs.notes(tmp_path / NOTES, Train(), CPU)
    noting.on_step(0, 1, 10)
    assert not (tmp_path / NOTES).exists()
