from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.small import PLAIN, Small, section, shades, weights_of
from wsi_vit.training.checkpoints import load_best, newest_valid
from wsi_vit.training.loop import fit, learn
from wsi_vit.training.moving_average import MovingAverage
from wsi_vit.training.records import Step


def test_the_average_follows_the_equation_and_forgets_fast_at_first() -> None:
    model = Small()
    average = MovingAverage(model, 0.9)
    expected, decays = model.head.weight.detach().clone(), []
    for step in range(1, 200):
        with torch.no_grad():
            model.head.weight.add_(0.01 * step)
        average.follow(step)
        decays.append(min(0.9, (1 + step) / (10 + step)))
        expected = decays[-1] * expected + (1 - decays[-1]) * model.head.weight

    with average.worn():
        torch.testing.assert_close(model.head.weight.detach(), expected)
    assert (decays[0], decays[-1]) == (2 / 11, 0.9)


def test_a_model_gets_its_own_weights_back_even_after_a_failure() -> None:
    model = Small()
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        model.head.weight.fill_(7.0)
    before = weights_of(model)

    with pytest.raises(ValueError, match="inside"), average.worn():
        assert weights_of(model) != before
        raise ValueError("inside")

    assert weights_of(model) == before


def test_what_never_learns_has_no_average_and_buffers_stay_the_models_own() -> None:
    model = Small()
    model.backbone[0].requires_grad_(requires_grad=False)
    model.norm = nn.BatchNorm1d(2)
    average = MovingAverage(model, 0.5)
    model.norm.running_mean.fill_(3.0)  # type: ignore[union-attr]

    assert not any(name.startswith("backbone.0") for name in average.learning())
    with average.worn():
        assert model.norm.running_mean.tolist() == [3.0, 3.0]  # type: ignore[union-attr]


def test_the_averaged_weights_are_judged_chosen_and_kept(tmp_path: Path) -> None:
    judged: list[bytes] = []

    class Watched(Small):
        def scores(self, images: torch.Tensor) -> torch.Tensor:
            judged.append(weights_of(self))
            return super().scores(images)

    model, learnt = Watched(), []
    events = learn(
        model,
        shades(16),
        shades(4, seed=1),
        training=section(ema=0.8, learning_rate=0.01),
        augmentation=PLAIN,
        folder=tmp_path,
    )
    for event in events:
        if isinstance(event, Step):
            learnt.append(weights_of(model))

    last, best, kept = newest_valid(tmp_path), Small(), Small()
    assert last is not None
    kept.load_state_dict(last.tensors("model"))
    best_epoch = load_best(best, tmp_path).state.epochs[-1].number
    assert len(judged) == 3
    assert judged[-1] == weights_of(kept) == weights_of(model)
    assert weights_of(best) == judged[best_epoch - 1]
    assert not set(judged) & set(learnt)
    assert (last.folder / "learning.safetensors").is_file()
    kept.load_state_dict(last.tensors("learning"))
    assert weights_of(kept) == learnt[-1]


def test_an_average_does_not_change_what_learns(tmp_path: Path) -> None:
    with_average, without = Small(), Small()
    options = {"augmentation": PLAIN}
    for model, ema in ((with_average, 0.8), (without, None)):
        folder = tmp_path / str(ema)
        list(fit(model, shades(16), shades(4), training=section(ema=ema), folder=folder, **options))  # type: ignore[arg-type]

    last = newest_valid(tmp_path / "0.8")
    assert last is not None
    with_average.load_state_dict(last.tensors("learning"))
    assert weights_of(with_average) == weights_of(without)
    assert not list((tmp_path / "None").rglob("learning.safetensors"))
