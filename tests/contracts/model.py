"""What every model promises: subclass `ModelContract`, say how to make one, and all is run."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsi_vit.datasets.example import Example
from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.models.load import load_model
from wsi_vit.models.model import Batch, Model

LABELS = LabelMap.model_validate(
    {
        "classes": [
            {"name": "stroma", "colour": "#009e73"},
            {"name": "tumour", "colour": "#d55e00"},
            {"name": "mucus", "colour": "#0072b2"},
        ]
    }
)


def made_up_examples(
    model: Model, *, count: int = 3, height: int | None = None, width: int | None = None
) -> list[Example]:
    """Return images of noise with targets that fit the model's task."""
    rng = np.random.default_rng(7)
    size = (height or model.input_px, width or model.input_px)
    several = model.task == "multi_label"
    shape = (len(model.labels),) if several else size if model.task == "segmentation" else ()
    values = 2 if several else len(model.labels)
    return [
        Example(
            image=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
            target=np.asarray(rng.integers(0, values, shape), dtype=np.uint8),
            key=f"slide/{index}",
            slide_id="slide",
            patient="patient",
        )
        for index in range(count)
    ]


def learns_the_red_channel(model: Any) -> bool:
    """Train a classifier of images for seconds; say whether it tells three shades of red apart."""
    batch = model.train().collate(made_up_examples(model, count=24))
    for index in range(24):
        batch["targets"][index] = index % 3
        batch["images"][index, 0] = 20 + 100 * (index % 3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    return bool((model.eval().scores(batch["images"]).argmax(1) == batch["targets"]).all())


class ModelContract:
    """The tests that every model passes."""

    @abstractmethod
    def make(self) -> Any:
        """Return a small model of `LABELS`; made under a fixed seed."""

    @pytest.fixture
    def model(self) -> Any:
        torch.manual_seed(0)
        return self.make()

    @pytest.fixture
    def batch(self, model: Any) -> Batch:
        return model.collate(made_up_examples(model))

    def test_a_batch_holds_uint8_images_and_int64_targets(self, model: Any, batch: Batch) -> None:
        side = model.input_px
        assert batch["images"].dtype == torch.uint8
        assert batch["images"].shape == (3, 3, side, side)
        assert batch["targets"].dtype == torch.int64
        shapes = {"segmentation": (3, side, side), "multi_label": (3, 3)}
        assert batch["targets"].shape == shapes.get(model.task, (3,))

    def test_examples_of_other_sizes_are_brought_to_the_models(self, model: Any) -> None:
        side = model.input_px
        mixed = made_up_examples(model, count=1) + made_up_examples(
            model, count=1, height=side + 24, width=side - 8
        )
        batch = model.collate(mixed)
        assert batch["images"].shape == (2, 3, side, side)
        assert batch["targets"].max() < len(model.labels)

    def test_an_unknown_class_id_is_named_with_its_example(self, model: Any) -> None:
        example = made_up_examples(model, count=1)[0]
        example.target[...] = 9
        with pytest.raises(ModelError, match=r"\[9\] in slide/0"):
            model.collate([example])

    def test_the_loss_is_finite_and_reaches_every_trainable_weight(
        self, model: Any, batch: Batch
    ) -> None:
        model.train().zero_grad()
        loss = model.loss(batch)
        loss.backward()
        assert loss.shape == ()
        assert loss.isfinite()
        idle = [
            name
            for name, p in model.named_parameters()
            if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
        ]
        assert idle == self.idle_parameters(model)

    def idle_parameters(self, model: Any) -> list[str]:
        """Return the trainable weights that the architecture itself leaves unused."""
        return []

    def test_calling_the_model_returns_the_loss(self, model: Any, batch: Batch) -> None:
        model.eval()
        assert torch.equal(model(batch), model.loss(batch))

    def test_loss_and_scores_come_from_one_forward_pass(self, model: Any, batch: Batch) -> None:
        answer, passes = model.eval().answer, []
        model.answer = lambda images: passes.append(1) or answer(images)
        with torch.no_grad():
            loss, scores = model.loss_and_scores(batch)
            assert len(passes) == 1
            assert torch.equal(loss, model.loss(batch))
            assert torch.equal(scores, model.scores(batch["images"]))

    def test_a_batch_of_one_can_be_learned_from(self, model: Any) -> None:
        assert model.train().loss(model.collate(made_up_examples(model, count=1))).isfinite()

    def test_scores_are_float32_of_the_images_size_and_sum_to_one(self, model: Any) -> None:
        side = model.input_px
        for height, width in ((side, side), (side + 40, side - 8)):
            images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
            scores = model.eval().scores(images)
            masks = model.task == "segmentation"
            assert scores.shape == ((2, 3, height, width) if masks else (2, 3))
            assert scores.dtype == torch.float32
            assert scores.min() >= 0
            if model.task == "multi_label":  # each by itself
                assert scores.max() <= 1
            else:
                assert torch.allclose(scores.sum(1), torch.ones(()), atol=1e-5)

    def test_one_image_scores_as_it_does_among_others(self, model: Any, batch: Batch) -> None:
        together = model.eval().scores(batch["images"])
        alone = model.scores(batch["images"][:1])
        assert torch.allclose(alone, together[:1], atol=1e-5)

    def test_evaluation_is_deterministic(self, model: Any, batch: Batch) -> None:
        model.eval()
        assert torch.equal(model.scores(batch["images"]), model.scores(batch["images"]))
        assert torch.equal(model.loss(batch), model.loss(batch))

    def test_images_that_were_normalised_already_are_refused(self, model: Any) -> None:
        side = model.input_px
        with pytest.raises(ModelError, match="wrong form"):
            model.scores(torch.rand(1, 3, side, side))

    def test_a_batch_with_no_known_target_teaches_nothing(self, model: Any, batch: Batch) -> None:
        unknown = torch.full_like(batch["targets"], IGNORE_ID)
        model.train().zero_grad()
        loss = model.loss({"images": batch["images"], "targets": unknown})
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert loss.item() == 0
        assert all(not gradient.any() for gradient in gradients)

    def test_class_weights_change_the_loss_and_can_be_taken_back(
        self, model: Any, batch: Batch
    ) -> None:
        model.eval()
        plain = model.loss(batch)
        model.weigh_classes(torch.tensor([1.0, 5.0, 0.2]))
        weighed = model.loss(batch)
        model.weigh_classes(None)
        assert weighed != plain
        assert torch.equal(model.loss(batch), plain)

    def test_class_weights_of_another_number_are_refused(self, model: Any) -> None:
        with pytest.raises(ModelError, match="Class weights"):
            model.weigh_classes(torch.ones(2))

    def test_backbone_parameters_are_trainable_parameters_of_the_model(self, model: Any) -> None:
        own = {id(p) for p in model.parameters()}
        backbone = list(model.backbone_parameters())
        assert len(backbone) < len(own)
        assert all(id(p) in own and p.requires_grad for p in backbone)

    def test_a_saved_model_scores_the_same_bit_for_bit(
        self, model: Any, batch: Batch, tmp_path: Path
    ) -> None:
        model.eval().save(tmp_path / "model")
        again = load_model(tmp_path / "model")
        assert torch.equal(again.scores(batch["images"]), model.scores(batch["images"]))
        assert torch.equal(again.loss(batch), model.loss(batch))
        assert (again.labels, again.task, again.input_px) == (LABELS, model.task, model.input_px)
        assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
            "config.json",
            "labels.json",
            "model.safetensors",
            "preprocessing.json",
        ]

    def test_saving_twice_writes_the_same_bytes(self, model: Any, tmp_path: Path) -> None:
        for name in ("one", "two"):
            model.save(tmp_path / name)
        for file in (tmp_path / "one").iterdir():
            assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()

    def test_the_state_dict_of_one_model_fits_another(self, model: Any, batch: Batch) -> None:
        torch.manual_seed(1)
        other = self.make()
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(
            other.eval().scores(batch["images"]), model.eval().scores(batch["images"])
        )
