import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.training.small import PLAIN, Small, section, shades, weights_of
from wsi_vit.errors import TrainingError
from wsi_vit.training import checkpoints
from wsi_vit.training.checkpoints import (
    MANIFEST,
    RunState,
    keep_as_best,
    load_best,
    load_weights,
    newest_valid,
    save_checkpoint,
    verify_checkpoint,
)
from wsi_vit.training.loop import fit


def save(folder: Path, step: int, *, model: Small | None = None) -> Path:
    return save_checkpoint(
        folder,
        "last",
        RunState(fingerprint="f", step=step, micro_batch=4, random=[3, [1, 2], None]),
        step=step,
        tensors={
            "model": (model or Small(seed=step)).state_dict(),
            "optimiser": {"step/head.bias": torch.tensor(float(step))},
            "random": {"torch": torch.get_rng_state()},
        },
    )


def test_a_checkpoint_gives_back_what_was_kept(tmp_path: Path) -> None:
    model = Small(seed=3)
    save(tmp_path, 7, model=model)

    found = newest_valid(tmp_path)
    assert found is not None
    twin = Small(seed=4)
    load_weights(twin, found)

    assert weights_of(twin) == weights_of(model)
    assert found.state == RunState(fingerprint="f", step=7, micro_batch=4, random=[3, [1, 2], None])
    assert found.tensors("optimiser")["step/head.bias"] == 7.0
    assert {path.suffix for path in found.folder.iterdir()} == {".safetensors", ".json"}


def test_two_generations_are_kept_and_scratch_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".scratch-dead").mkdir()
    for step in (1, 2, 3, 12):
        save(tmp_path, step)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["last-00000003", "last-00000012"]


def test_a_hundred_damaged_checkpoints_are_all_found_and_the_one_before_is_read(
    tmp_path: Path,
) -> None:
    save(tmp_path, 1)
    whole = tmp_path / "whole"
    shutil.move(save(tmp_path, 2), whole)
    chance = random.Random(0)

    for _ in range(100):
        damaged = tmp_path / "last-00000002"
        shutil.copytree(whole, damaged)
        what = damage(chance.choice(sorted(damaged.iterdir())), chance)

        assert verify_checkpoint(damaged), what
        found = newest_valid(tmp_path)
        assert found is not None
        assert found.state.step == 1, what
        shutil.rmtree(damaged)


def damage(path: Path, chance: random.Random) -> str:
    """Change one bit, cut the end off, or delete the file."""
    content = bytearray(path.read_bytes())
    place = chance.randrange(len(content))
    way = chance.choice(["bit", "cut", "gone"])
    if way == "gone":
        path.unlink()
    elif way == "cut":
        path.write_bytes(content[:place])
    else:
        content[place] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    return f"{way} in {path.name} at {place}"


def test_a_foreign_file_is_not_believed(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (folder / "extra.pkl").write_bytes(b"\x80\x04.")

    assert verify_checkpoint(folder) == ["extra.pkl: missing or foreign"]
    assert newest_valid(tmp_path) is None


def test_the_best_checkpoint_outlives_the_last_ones(tmp_path: Path) -> None:
    model = Small(seed=1)
    keep_as_best(save(tmp_path, 1, model=model))
    for step in (2, 3, 4):
        save(tmp_path, step)
    twin = Small(seed=9)

    assert load_best(twin, tmp_path).state.step == 1
    assert weights_of(twin) == weights_of(model)


def test_best_is_copied_where_files_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)

    assert verify_checkpoint(keep_as_best(save(tmp_path, 1))) == []


def test_no_best_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="can be believed"):
        load_best(Small(), tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    found = newest_valid(tmp_path)
    assert found is not None
    other = Small()
    other.head = torch.nn.Linear(8, 3)

    with pytest.raises(TrainingError, match="does not fit this model"):
        load_weights(other, found)


def test_a_full_disk_tells_the_path_and_the_bytes_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "flush_file", full)
    with pytest.raises(TrainingError, match=r"No space left.*checkpoints-here.*MB needed"):
        save(tmp_path / "checkpoints-here", 1)
    with pytest.raises(TrainingError, match="No space left"):
        save(tmp_path, 2)

    found = newest_valid(tmp_path)
    assert found is not None
    assert found.state.step == 1
    assert not list(tmp_path.glob(".scratch-*"))


def test_tied_weights_can_be_kept(tmp_path: Path) -> None:
    model = Small()
    model.twin = model.head
    save(tmp_path, 1, model=model)

    found = newest_valid(tmp_path)
    assert found is not None
    load_weights(model, found)


def test_a_damaged_newest_checkpoint_costs_steps_and_not_the_result(tmp_path: Path) -> None:
    def train(folder: Path, seed: int) -> bytes:
        model = Small(seed=seed)
        list(
            fit(
                model,
                shades(16),
                shades(6),
                training=section(),
                augmentation=PLAIN,
                folder=folder,
            )
        )
        return weights_of(model)

    straight = train(tmp_path, 0)
    newest = tmp_path / "last-00000012"
    (newest / MANIFEST).write_text("{}")

    assert train(tmp_path, 1) == straight
    assert verify_checkpoint(newest) == []


def train_and_die(folder: Path, seed: int, *, after_s: float | None) -> bool:
    """Train in a fork, which is killed after some time; return whether it came to its end.

    Once there is a checkpoint, another seed shows that the weights are the checkpoint's.
    """
    begun = any((folder / "checkpoints").glob("last-*"))
    child = os.fork()
    if child == 0:
        try:
            model = Small(seed=seed if begun else 0)
            training = section(epochs=6, checkpoint_every_steps=1, workers=0)
            for _ in fit(
                model,
                shades(16),
                shades(6),
                training=training,
                augmentation=PLAIN,
                folder=folder / "checkpoints",
            ):
                pass
            (folder / "weights").write_bytes(weights_of(model))
        finally:
            os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return (folder / "weights").exists()


def test_kills_at_any_moment_do_not_change_the_result(tmp_path: Path) -> None:
    """Most of the time goes into saving, so most kills hit a save."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    began = time.monotonic()
    train_and_die(whole, 0, after_s=None)
    took_s = time.monotonic() - began
    chance, kills = random.Random(1), 0

    while kills < 40 and not train_and_die(
        killed, kills, after_s=took_s * chance.uniform(0.02, 0.3)
    ):
        kills += 1
    train_and_die(killed, 77, after_s=None)

    assert kills >= 3
    assert (killed / "weights").read_bytes() == (whole / "weights").read_bytes()
    left = {path.name.partition("-")[0] for path in (killed / "checkpoints").iterdir()}
    assert left == {"best", "last"}
