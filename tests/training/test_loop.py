import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.small import PLAIN, Memory, Small, section, shade, shades, weights_of
from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Example, Task
from wsi_vit.errors import Stopped, TrainingError
from wsi_vit.training.checkpoints import load_best, newest_valid
from wsi_vit.training.loop import fit, learn
from wsi_vit.training.precision import computed_in
from wsi_vit.training.records import Epoch, Step
from wsi_vit.training.section import TrainingSection

AUGMENTED = Augmentation(preset="histology")


def train(
    model: Small,
    folder: Path,
    training: TrainingSection | None = None,
    *,
    images: Memory | None = None,
    masks: bool = False,
    augmentation: Augmentation = AUGMENTED,
) -> list[Epoch]:
    return list(
        fit(
            model,
            shades(16, masks=masks) if images is None else images,
            shades(6, masks=masks, seed=1),
            training=training or section(),
            augmentation=augmentation,
            folder=folder,
        )
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the weights after twelve uninterrupted steps."""
    model = Small()
    train(model, tmp_path_factory.mktemp("straight"))
    return weights_of(model)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_model_learns_and_every_epoch_is_told(tmp_path: Path, task: Task) -> None:
    model, masks = Small(task=task), task == "segmentation"

    epochs = train(model, tmp_path, section(epochs=20), masks=masks, augmentation=PLAIN)

    assert [epoch.number for epoch in epochs] == list(range(1, 21))
    assert epochs[-1].train_loss < epochs[0].train_loss / 2
    assert epochs[-1].validation.metric == ("mean_iou" if masks else "macro_f1")
    assert epochs[-1].validation.value is not None
    assert epochs[-1].validation.value >= 0.8
    assert sum(map(sum, epochs[-1].validation.counts)) == 6 * (64 if masks else 1)
    assert epochs[-1].step == 80
    assert 0 < epochs[0].data_wait_s < epochs[0].seconds


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    tmp_path: Path, straight: bytes
) -> None:
    again, other = Small(), Small()
    torch.rand(7)  # whatever was drawn before does not matter

    train(again, tmp_path / "again", section(workers=0))
    train(other, tmp_path / "other", section(seed=1))

    assert weights_of(again) == straight != weights_of(other)


def test_five_steps_and_a_resume_to_twelve_give_the_weights_of_twelve(
    tmp_path: Path, straight: bytes
) -> None:
    training = section(checkpoint_every_steps=1)
    events = learn(
        Small(),
        shades(16),
        shades(6, seed=1),
        training=training,
        augmentation=AUGMENTED,
        folder=tmp_path,
    )
    for event in events:
        if isinstance(event, Step) and event.step == 5:
            break
    events.close()
    found = newest_valid(tmp_path)
    assert found is not None
    assert (found.state.epoch, found.state.step) == (2, 1)

    resumed = Small(seed=99)
    epochs = train(resumed, tmp_path, training)

    assert weights_of(resumed) == straight
    assert [epoch.number for epoch in epochs] == [1, 2, 3]


def uneven() -> Memory:
    """Return nine dark images and three bright ones: in an epoch the bright come 1.41 times."""
    return Memory([shade(grey) for grey in (*range(10, 91, 10), 200, 210, 220)])


def test_rare_classes_are_shown_more_often_and_every_epoch_tells_how_often(tmp_path: Path) -> None:
    uniform = train(Small(), tmp_path / "uniform", images=uneven())
    counted = uneven()
    counted.counts = np.array([[1, 0, 0]] * 9 + [[0, 1, 0]] * 3)  # type: ignore[attr-defined]
    told = train(Small(), tmp_path / "told", images=counted)
    rare = train(Small(), tmp_path / "rare", section(sampling="rare_classes"), images=uneven())

    assert [epoch.shown for epoch in uniform] == [{}] * 3
    assert [epoch.shown for epoch in told] == [{"dark": 9, "bright": 3}] * 3
    # 9 + 3 * sqrt(0.5 / 0.25) = 13.2, filled up to 14 images: four steps of four and less.
    assert all(epoch.shown["dark"] >= 9 for epoch in rare)
    assert all(epoch.shown["bright"] >= 3 for epoch in rare)
    assert [sum(epoch.shown.values()) for epoch in rare] == [14] * 3
    assert [epoch.step for epoch in rare] == [4, 8, 12]


@pytest.mark.parametrize("at", [2, 4, 7])
def test_a_resume_repeats_the_order_of_rare_classes_and_the_average(
    tmp_path: Path, at: int
) -> None:
    training = section(sampling="rare_classes", ema=0.9, checkpoint_every_steps=1)
    straight, resumed = Small(), Small(seed=99)
    expected = train(straight, tmp_path / "straight", training, images=uneven())
    events = learn(
        Small(),
        uneven(),
        shades(6, seed=1),
        training=training,
        augmentation=AUGMENTED,
        folder=tmp_path / "resumed",
    )
    while not (isinstance(event := next(events), Step) and event.step == at):
        pass
    events.close()

    epochs = train(resumed, tmp_path / "resumed", training, images=uneven())

    assert weights_of(resumed) == weights_of(straight)
    assert [e.shown for e in epochs] == [e.shown for e in expected]
    assert [e.validation for e in epochs] == [e.validation for e in expected]
    ends = [newest_valid(tmp_path / name) for name in ("straight", "resumed")]
    learning = [end.tensors("learning") for end in ends if end is not None]
    assert all(torch.equal(learning[0][name], learning[1][name]) for name in learning[0])


def test_a_model_is_told_how_far_the_run_is_and_a_resume_tells_the_rest(tmp_path: Path) -> None:
    model, resumed = Small(), Small()
    events = learn(
        model,
        shades(16),
        shades(4),
        training=section(),
        augmentation=PLAIN,
        folder=tmp_path,
    )
    while not (isinstance(event := next(events), Epoch) and event.number == 1):
        pass
    events.close()
    train(resumed, tmp_path / "other", section(epochs=1))

    assert model.told == [step / 12 for step in range(4)]
    assert resumed.told == [step / 4 for step in range(4)]


@pytest.mark.parametrize(("at", "ema"), [(1, None), (4, 0.9), (6, None), (12, 0.9)])
def test_sigterm_keeps_a_checkpoint_at_the_next_step(
    tmp_path: Path, at: int, ema: float | None
) -> None:
    training = section(ema=ema)
    uninterrupted = Small()
    train(uninterrupted, tmp_path / "straight", training)
    straight, tmp_path = weights_of(uninterrupted), tmp_path / "stopped"
    events = learn(
        Small(),
        shades(16),
        shades(6, seed=1),
        training=training,
        augmentation=AUGMENTED,
        folder=tmp_path,
    )
    seen: list[int] = []
    with pytest.raises(Stopped, match=f"after step {at} of 12"):
        for event in events:
            if isinstance(event, Step):
                seen.append(event.step)
                if event.step == at:
                    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    resumed = Small(seed=99)
    epochs = train(resumed, tmp_path, training)

    assert weights_of(resumed) == straight
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert all(sum(map(sum, epoch.validation.counts)) == 6 for epoch in epochs)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_sigterm_while_validating_keeps_what_learns_and_validates_again(
    tmp_path: Path, ema: float | None
) -> None:
    class Asked(Small):
        def scores(self, images: torch.Tensor) -> torch.Tensor:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().scores(images)

    straight, resumed = Small(), Small(seed=99)
    expected = train(straight, tmp_path / "straight", section(ema=ema))
    with pytest.raises(Stopped, match="after step 4 of 12"):
        train(Asked(), tmp_path / "stopped", section(ema=ema))

    epochs = train(resumed, tmp_path / "stopped", section(ema=ema))

    assert weights_of(resumed) == weights_of(straight)
    assert [e.validation for e in epochs] == [e.validation for e in expected]


def test_a_finished_run_is_told_again_without_training(tmp_path: Path) -> None:
    first = train(Small(), tmp_path)
    model = Small(seed=5)

    again = train(model, tmp_path)

    assert again == first
    assert model.seen == []


def test_another_run_does_not_go_on_from_these_checkpoints(tmp_path: Path) -> None:
    train(Small(), tmp_path, section(epochs=1))

    with pytest.raises(TrainingError, match="other settings, data or model"):
        train(Small(), tmp_path, section(epochs=1, learning_rate=0.01))
    with pytest.raises(TrainingError, match="other settings, data or model"):
        train(Small(), tmp_path, section(epochs=1), images=shades(15))
    train(Small(), tmp_path, section(epochs=1, workers=0, checkpoint_every_steps=2))


def test_accumulated_batches_learn_as_one(tmp_path: Path) -> None:
    whole, pieces = Small(), Small()
    whole.backbone[3].p = pieces.backbone[3].p = 0.0  # type: ignore[assignment]

    train(whole, tmp_path / "whole", section(batch_size=8))
    train(pieces, tmp_path / "pieces", section(batch_size=2, accumulate=4))

    assert max(whole.seen) == 8
    assert set(pieces.seen) == {2}
    for ours, theirs in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_short_memory_halves_the_batch_and_not_what_is_learnt(tmp_path: Path) -> None:
    whole, short = Small(), Small()
    whole.backbone[3].p = short.backbone[3].p = 0.0  # type: ignore[assignment]
    short.fits = 3

    train(whole, tmp_path / "whole", section(batch_size="auto"))
    epochs = train(short, tmp_path / "short", section(batch_size="auto"))

    assert [(e.step_images, e.micro_batch, e.accumulate) for e in epochs] == [(16, 2, 8)] * 3
    assert short.seen[:4] == [16, 8, 4, 2]
    for ours, theirs in zip(whole.parameters(), short.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_memory_for_not_even_one_image_is_an_error(tmp_path: Path) -> None:
    model = Small()
    model.fits = 0

    with pytest.raises(TrainingError, match="does not hold one image"):
        train(model, tmp_path)


def test_a_loss_that_is_not_finite_is_found_at_its_step_and_names_its_images(
    tmp_path: Path,
) -> None:
    model = Small()
    before = weights_of(model)
    model.spoiled_by = 77
    images = Memory([*shades(3).examples, shade(77)])

    with pytest.raises(TrainingError, match=r"loss is nan at step 1 of epoch 1.*grey/77"):
        train(model, tmp_path, images=images, augmentation=PLAIN)

    assert weights_of(model) == before
    assert list(tmp_path.iterdir()) == []


def test_a_step_at_fault_is_left_out_after_a_rollback(tmp_path: Path) -> None:
    model = Small()
    model.spoiled_by = 77
    images = Memory([*shades(15).examples, shade(77)])
    after = spoil_after_first_epoch(model, images)

    epochs = train(model, tmp_path, section(epochs=2), images=after, augmentation=PLAIN)

    (skipped,) = epochs[-1].skipped
    assert skipped.epoch == 2
    assert "grey/77" in skipped.keys
    assert epochs[0].skipped == ()
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_third_fault_ends_the_run(tmp_path: Path) -> None:
    model = Small()
    images = Memory([shade(77)] * 8)
    after = spoil_after_first_epoch(model, images)

    with pytest.raises(TrainingError, match="loss is nan at step 1 of epoch 4"):
        train(
            model,
            tmp_path,
            section(epochs=5, batch_size=8),
            images=after,
            augmentation=PLAIN,
        )


def spoil_after_first_epoch(model: Small, images: Memory) -> Memory:
    """Return the images; the grey value 77 spoils the loss from the second epoch on."""

    class Turning(Memory):
        def __init__(self, examples: list[Example]) -> None:
            super().__init__(examples)
            self.read = 0

        def __getitems__(self, indices: Sequence[int]) -> list[Example]:
            model.spoiled_by = 77 if self.read >= len(self) else None
            self.read += len(indices)
            return super().__getitems__(indices)

    return Turning(images.examples)


def test_a_frozen_backbone_does_not_learn_until_it_is_thawed(tmp_path: Path) -> None:
    model = Small()
    first = {name: p.detach().clone() for name, p in model.named_parameters()}
    changed: list[set[str]] = []

    for _ in fit(
        model,
        shades(16),
        shades(6),
        training=section(freeze_epochs=1, epochs=2),
        augmentation=PLAIN,
        folder=tmp_path,
    ):
        now = dict(model.named_parameters())
        changed.append(
            {name.split(".")[0] for name in now if not torch.equal(now[name], first[name])}
        )

    assert changed == [{"head"}, {"head", "backbone"}]
    assert all(p.requires_grad for p in model.parameters())


def test_a_resume_within_the_frozen_epochs_gives_the_same_weights(tmp_path: Path) -> None:
    training = section(freeze_epochs=1, epochs=2, checkpoint_every_steps=2)
    straight, resumed = Small(), Small(seed=99)
    train(straight, tmp_path / "straight", training)
    events = learn(
        Small(),
        shades(16),
        shades(6, seed=1),
        training=training,
        augmentation=AUGMENTED,
        folder=tmp_path / "resumed",
    )
    while not (isinstance(event := next(events), Step) and event.step == 3):
        pass
    events.close()

    train(resumed, tmp_path / "resumed", training)

    assert weights_of(resumed) == weights_of(straight)


def test_training_stops_early_and_the_best_weights_come_back(tmp_path: Path) -> None:
    model = Small()

    epochs = train(
        model,
        tmp_path,
        section(epochs=60, early_stop_epochs=3, learning_rate=0.5),
        augmentation=PLAIN,
    )
    last = weights_of(model)
    best = load_best(model, tmp_path)

    best_number = max(epoch.number for epoch in epochs if epoch.best)
    assert len(epochs) < 60
    assert len(epochs) == best_number + 3
    assert best.state.epochs[-1].number == best_number
    assert weights_of(model) != last


def test_rare_classes_weigh_more_when_asked(tmp_path: Path) -> None:
    model = Small()
    images = Memory([shade(grey) for grey in (10, 20, 30, 200)])

    train(model, tmp_path, section(class_weights="balanced", epochs=1), images=images)

    assert model.weights is not None
    assert model.weights.tolist() == pytest.approx([4 / 6, 2.0])


def test_bf16_keeps_the_weights_in_32_bits(tmp_path: Path) -> None:
    model = Small()

    (epoch,) = train(model, tmp_path, section(precision="bf16", epochs=1))

    assert epoch.precision == computed_in("bf16", torch.device("cpu"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can train in fp16")
def test_fp16_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot train in fp16"):
        train(Small(), tmp_path, section(precision="fp16"))


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="0 images to train on"):
        train(Small(), tmp_path, images=Memory([]))


def test_a_validation_loss_that_is_not_finite_names_its_images(tmp_path: Path) -> None:
    class Broken(Small):
        def loss(self, batch: Any) -> torch.Tensor:
            return super().loss(batch) * (1.0 if self.training else float("inf"))

    with pytest.raises(TrainingError, match=r"validation loss is not finite.*grey/"):
        train(Broken(), tmp_path)


def test_training_in_a_thread_needs_no_signals(tmp_path: Path, straight: bytes) -> None:
    model = Small()
    thread = threading.Thread(target=train, args=(model, tmp_path))

    thread.start()
    thread.join(60)

    assert weights_of(model) == straight


def test_a_progress_bar_can_be_drawn(tmp_path: Path) -> None:
    events = learn(
        Small(),
        shades(16),
        shades(6),
        training=section(epochs=1),
        augmentation=PLAIN,
        folder=tmp_path,
    )
    steps = [event for event in events if isinstance(event, Step)]

    assert [(step.step, step.steps) for step in steps] == [(n, 4) for n in (1, 2, 3, 4)]
    assert steps[-1].seconds_left == 0.0 < steps[0].seconds_left
    assert all(step.images_per_s > 0 for step in steps)
