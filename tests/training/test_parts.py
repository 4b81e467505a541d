import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.training.small import Small, section, shades
from wsi_vit.errors import TrainingError
from wsi_vit.training.batches import BatchReader, balanced_weights, count_targets, known_counts
from wsi_vit.training.optimiser import Optimiser
from wsi_vit.training.randomness import (
    random_state,
    repeatable,
    restore_random_state,
    seed_everything,
    seed_of,
)
from wsi_vit.training.records import Epoch, Step, Validation
from wsi_vit.training.schedule import rate_share
from wsi_vit.training.section import TrainingSection


def test_the_rate_rises_then_falls_to_almost_nothing() -> None:
    shares = [rate_share(step, steps=100, warmup_share=0.1) for step in range(100)]

    assert np.argmax(shares) == 10
    assert shares[10] == 1.0
    assert np.all(np.diff(shares[:11]) > 0)
    assert np.all(np.diff(shares[10:]) < 0)
    assert 0 < shares[0] < 0.1
    assert 0 < shares[-1] < 0.001


def test_a_run_without_warmup_starts_at_the_highest_rate() -> None:
    assert rate_share(0, steps=1, warmup_share=0.0) == 1.0


def test_rare_classes_weigh_more_and_the_mean_weight_is_one() -> None:
    weights = balanced_weights([90, 10, 0])

    assert weights.tolist() == pytest.approx([100 / 180, 5.0, 1.0])
    assert (90 * weights[0] + 10 * weights[1]) / 100 == pytest.approx(1.0)


def test_classes_are_counted_without_ignored_targets() -> None:
    examples = shades(6, masks=True)
    examples.examples[0].target[:] = 255

    reader = BatchReader(examples, model=Small(task="segmentation"), workers=0)
    counted = count_targets(reader, classes=2)

    assert counted.sum(axis=1).tolist() == [0, 64, 64, 64, 64, 64]
    assert counted.shape == (6, 2)
    ids = count_targets(BatchReader(shades(6), model=Small(), workers=0), classes=2)
    assert ids.tolist() == [[1 - bright, bright] for bright in ids[:, 1].tolist()]


def test_a_dataset_that_has_counted_is_believed() -> None:
    examples = shades(3)
    examples.counts = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 7]])  # type: ignore[attr-defined]

    known = known_counts(examples, 2)

    assert known is not None
    assert known.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert known_counts(shades(3), 2) is None


def test_vectors_do_not_decay_and_the_backbone_has_its_own_rate() -> None:
    model = Small()

    optimiser = Optimiser(model, section(weight_decay=0.1, learning_rate=0.2, backbone_rate=0.02))

    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimiser.torch.param_groups
        for p in group["params"]
    }
    by_name = {name: found[id(p)] for name, p in model.named_parameters()}
    assert by_name == {
        "backbone.0.weight": (0.02, 0.1),
        "backbone.0.bias": (0.02, 0.0),
        "backbone.2.weight": (0.02, 0.0),
        "backbone.2.bias": (0.02, 0.0),
        "head.weight": (0.2, 0.1),
        "head.bias": (0.2, 0.0),
    }
    optimiser.set_rate(0.5)
    assert {group["lr"] for group in optimiser.torch.param_groups} == {0.01, 0.1}


def test_the_optimiser_takes_its_state_back_by_name() -> None:
    model, twin = Small(), Small()
    first, second = Optimiser(model, section()), Optimiser(twin, section(backbone_rate=0.01))
    batch = model.collate(shades(4).examples)
    model.loss(batch).backward()
    first.torch.step()

    second.restore(first.state())

    assert second.state().keys() == first.state().keys()
    for name, value in second.state().items():
        assert torch.equal(value, first.state()[name]), name
    with pytest.raises(TrainingError, match="lacks"):
        second.restore({"exp_avg/other.weight": torch.zeros(1)})


def test_a_model_that_may_not_learn_is_refused() -> None:
    model = Small()
    model.requires_grad_(requires_grad=False)

    with pytest.raises(TrainingError, match="Nothing in this model may learn"):
        Optimiser(model, section())


def test_seeds_differ_by_every_part() -> None:
    seeds = {seed_of(*parts) for parts in [("a", 1, 2), ("a", 12), ("a", 1, 3), ("b", 1, 2)]}

    assert len(seeds) == 4
    assert seed_of("a", 1, 2) == seed_of("a", 1, 2) < 2**63


def test_all_generators_go_on_from_a_kept_state() -> None:
    def draw() -> tuple[float, float, float]:
        import random

        return torch.rand(()).item(), float(np.random.rand()), random.random()

    seed_everything(1)
    draw()
    kept = random_state()
    expected = draw()
    seed_everything(2)

    restore_random_state(*kept)

    assert draw() == expected


def test_chosen_kernels_are_given_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()

    with repeatable(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()

    assert torch.are_deterministic_algorithms_enabled() is before


def test_records_survive_json() -> None:
    validation = Validation(loss=0.5, metric="macro_f1", value=0.75, counts=((3, 1), (0, 4)))
    epoch = Epoch(
        number=1,
        step=4,
        train_loss=1.0,
        validation=validation,
        best=True,
        learning_rate=0.1,
        grad_norm=2.0,
        seconds=4.0,
        images_per_s=10.0,
        data_wait_s=1.0,
        step_images=12,
        micro_batch=5,
        device="cpu",
        precision="fp32",
    )

    assert Epoch.model_validate_json(epoch.model_dump_json()) == epoch
    assert epoch.data_wait_share == 0.25
    assert epoch.accumulate == 3
    assert Step.model_fields.keys() >= {"step", "steps", "seconds_left", "loss"}


def test_a_better_metric_wins_and_then_the_lower_loss() -> None:
    def found(value: float | None, loss: float) -> Validation:
        return Validation(loss=loss, metric="mean_iou", value=value, counts=((0,),))

    ranked = [found(None, 0.1), found(0.0, 9.0), found(0.5, 2.0), found(0.5, 1.0), found(0.6, 3.0)]

    assert sorted(ranked, key=lambda one: one.rank) == ranked


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": "all"},
        {"epochs": 2, "freeze_epochs": 2},
        {"warmup_share": 1.0},
        {"precision": "fp8"},
        {"layer_decay": 0.0},
        {"layer_decay": 1.1},
        {"ema": 1.0},
        {"sampling": "balanced"},
        {"momentum": 0.9},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSection.model_validate(wrong)


def test_auto_means_the_same_step_on_every_machine() -> None:
    assert section(batch_size="auto", accumulate=2).step_images == 32
    assert isinstance(Small(), nn.Module)


def test_more_processes_than_processors_are_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(6)))

    for device in ("cpu", "cuda"):
        assert section(workers="auto").reading_processes(device) == 3
        assert section(workers=2).reading_processes(device) == 2
        assert section(workers=64).reading_processes(device) == 6
        assert section(workers=0).reading_processes(device) == 0
    with pytest.raises(ValidationError, match="a number from 0, or auto"):
        section(workers=-1)


@pytest.mark.parametrize("processors", [1, 2])
def test_none_reads_beside_two_processors_that_learn(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(processors)))

    assert section(workers="auto").reading_processes("cpu") == 0
    assert section(workers="auto").reading_processes("cuda") == 1
    assert section(workers=1).reading_processes("cpu") == 1
