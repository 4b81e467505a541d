"""Reading ahead in processes of its own."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.training.small import PLAIN, Memory, Small, section, shades, weights_of
from wsi_vit.datasets.example import Example
from wsi_vit.errors import DatasetError, TrainingError
from wsi_vit.training.batches import BatchReader, Loaded
from wsi_vit.training.loop import fit, learn
from wsi_vit.training.order import cut
from wsi_vit.training.records import Epoch, Step


def reader(examples: Memory, workers: int) -> BatchReader:
    return BatchReader(examples, model=Small(), workers=workers)


class Uneven(Memory):
    """The first batches take longest."""

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        time.sleep(0.01 * (indices[0] % 3))
        return super().__getitems__(indices)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_however_many_processes_read(workers: int) -> None:
    examples = Uneven(shades(12).examples)

    with reader(examples, workers) as images:
        loaded = list(images.read(cut(range(12), 2), first=2))

    assert [batch.number for batch in loaded] == [2, 3, 4, 5]
    assert [key for batch in loaded for key in batch.keys] == [
        example.key for example in examples.examples[4:]
    ]
    assert all(batch.batch["images"].shape == (2, 3, 8, 8) for batch in loaded)


class Telling(Memory):
    """Names the process that reads instead of the image."""

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        return [
            Example(image=e.image, target=e.target, key=str(os.getpid()), slide_id="", patient="")
            for e in super().__getitems__(indices)
        ]


def pids(loaded: list[Loaded]) -> set[int]:
    return {int(key) for batch in loaded for key in batch.keys}


def test_the_processes_last_over_the_epochs_and_end_with_the_reader() -> None:
    order = cut(range(8), 1)
    with reader(Telling(shades(8).examples), 2) as images:
        first, second = list(images.read(order)), list(images.read(order))
        assert pids(first) == pids(second)
        assert len(pids(first)) == 2
        assert os.getpid() not in pids(first)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids(first)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(psutil.pid_exists(pid) for pid in pids(first))


def test_an_epoch_that_was_left_early_leaves_nothing_behind_for_the_next() -> None:
    with reader(shades(20), 2) as images:
        left = images.read(cut(range(20), 1))
        next(left)
        left.close()
        again = list(images.read(cut(range(6), 2)))

    assert [batch.number for batch in again] == [0, 1, 2]
    assert [len(batch.keys) for batch in again] == [2, 2, 2]


class Broken(Memory):
    """The image at position 2 is damaged."""

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        if 2 in indices:
            raise DatasetError("The image of a/2 cannot be decoded", got="zeros", remedy="Mend it")
        return super().__getitems__(indices)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_as_what_it_is_at_the_batch_it_belongs_to(workers: int) -> None:
    with reader(Broken(shades(4).examples), workers) as images:
        batches = images.read(cut(range(4), 1))
        assert [next(batches).number, next(batches).number] == [0, 1]
        with pytest.raises(DatasetError, match=r"a/2 cannot be decoded. Got: zeros. Mend it") as e:
            next(batches)
    assert (e.value.what, e.value.remedy) == ("The image of a/2 cannot be decoded", "Mend it")


class Foreign(Memory):
    """Raises what is none of our errors."""

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        raise OSError("the disk is gone")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_no_error_of_ours_keeps_its_kind_too(workers: int) -> None:
    images = reader(Foreign(shades(4).examples), workers)
    with pytest.raises(OSError, match="the disk is gone"), images:
        list(images.read([[0]]))


class Dying(Memory):
    """Is killed, as the kernel does where memory is short."""

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_process_that_was_killed_is_told_with_what_to_do() -> None:
    images = reader(Dying(shades(4).examples), 1)
    with pytest.raises(TrainingError, match=r"images ended.*workers: 0"), images:
        list(images.read([[0]]))


def test_a_request_to_stop_is_the_trainers_to_answer() -> None:
    with reader(Telling(shades(8).examples), 1) as images:
        batches = images.read(cut(range(8), 1))
        (worker,) = pids([next(batches)])
        for name in ("-TERM", "-INT"):  # from outside, as a scheduler sends them to the group
            subprocess.run(["kill", name, str(worker)], check=True)
        assert len(list(batches)) == 7


HOLDS_ON = textwrap.dedent(
    """
    from tests.training.small import Small, shades
    from wsi_vit.training.batches import BatchReader

    reader = BatchReader(shades(8), model=Small(), workers=2)
    batches = reader.read([[0], [1], [2], [3]])
    next(batches)
    kept = [batches, reader]
    kept.append(kept)  # a cycle, as an error and its traceback make, outlives everything
    del batches, reader
    """
)


def test_a_trainer_that_ends_while_something_holds_its_reader_does_end() -> None:
    command = [sys.executable, "-c", HOLDS_ON]
    ended = subprocess.run(command, timeout=120, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("reading", ["random", "streaming"])
def test_what_is_learnt_does_not_depend_on_how_many_processes_read(
    tmp_path: Path, reading: str
) -> None:
    learnt: set[bytes] = set()
    for workers in (0, 2):
        model = Small()
        training = section(workers=workers, reading=reading, epochs=2)
        folder = tmp_path / str(workers)
        for _ in fit(
            model, shades(16), shades(6), training=training, augmentation=PLAIN, folder=folder
        ):
            pass
        learnt.add(weights_of(model))
    assert len(learnt) == 1


def test_the_order_of_reading_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    for reading in ("random", "streaming"):
        training = section(reading=reading, epochs=1)
        images, folder = shades(16), tmp_path
        epochs = fit(
            Small(), images, shades(6), training=training, augmentation=PLAIN, folder=folder
        )
        if reading == "random":
            list(epochs)
            continue
        with pytest.raises(TrainingError, match="other settings"):
            list(epochs)


def test_a_batch_holds_what_its_positions_hold() -> None:
    examples = shades(10)
    with reader(examples, 2) as images:
        for batch in images.read([[3, 1], [7]]):
            expected = [(3, 1), (7,)][batch.number]
            found = batch.batch["images"][:, 0, 0, 0].tolist()
            truth = [int(examples.examples[i].image[0, 0, 0]) for i in expected]
            assert np.array_equal(found, truth)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights_with_other_processes(
    tmp_path: Path,
) -> None:
    straight, resumed = Small(), Small(seed=99)

    def events(model: Small, folder: str, workers: int) -> Generator[Step | Epoch]:
        training = section(workers=workers, reading="streaming", checkpoint_every_steps=1)
        images, judged, place = shades(16), shades(6), tmp_path / folder
        return learn(model, images, judged, training=training, augmentation=PLAIN, folder=place)

    list(events(straight, "straight", 0))
    stopped = events(Small(), "stopped", 2)
    for event in stopped:
        if isinstance(event, Step) and event.step == 5:
            break
    stopped.close()
    list(events(resumed, "stopped", 1))

    assert weights_of(resumed) == weights_of(straight)
