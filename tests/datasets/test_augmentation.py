import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from wsi_vit.datasets.augmentation.batches import augment
from wsi_vit.datasets.augmentation.section import Augmentation


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(part: str, **values: Any) -> Augmentation:
    return Augmentation.model_validate({"preset": "none", part: {"probability": 1.0, **values}})


def tissue(batch: int = 6, height: int = 32, width: int = 32) -> Tensor:
    """H&E-like colours: pink to violet, smooth."""
    coarse = torch.rand((batch, 3, 4, 4), generator=seeded(7))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    centre = torch.tensor([190.0, 130.0, 180.0])[:, None, None]
    return (centre + 60 * (smooth - 0.5)).round().to(torch.uint8)


def masks_of(images: Tensor) -> Tensor:
    return (images[:, 0] > 190).long()


class TestEveryPart:
    def test_shapes_and_types_stay_and_what_was_given_is_left_alone(self) -> None:
        images = tissue()
        masks = masks_of(images)
        before = images.clone(), masks.clone()
        changed, moved = augment(images, masks, Augmentation(preset="strong"), seeded())
        assert (changed.dtype, moved.dtype) == (torch.uint8, torch.int64)
        assert (changed.shape, moved.shape) == (images.shape, masks.shape)
        assert torch.equal(images, before[0])
        assert torch.equal(masks, before[1])
        assert not torch.equal(changed, images)

    def test_class_ids_stay(self) -> None:
        targets = torch.arange(6)
        _, same = augment(tissue(), targets, Augmentation(preset="strong"), seeded())
        assert torch.equal(same, targets)

    def test_several_labels_stay_in_their_order(self) -> None:
        targets = torch.tensor([[1, 0, 255]] * 6)
        section = Augmentation.model_validate({"preset": "scenes"})
        for chosen in (section, Augmentation(preset="strong"), only("flip"), only("crop")):
            _, same = augment(tissue(), targets, chosen, seeded())
            assert torch.equal(same, targets)

    def test_the_seed_decides(self) -> None:
        images = tissue()
        runs = [augment(images, masks_of(images), Augmentation(), seeded(s)) for s in (1, 1, 2)]
        assert torch.equal(runs[0][0], runs[1][0])
        assert torch.equal(runs[0][1], runs[1][1])
        assert not torch.equal(runs[0][0], runs[2][0])

    def test_the_preset_none_changes_nothing(self) -> None:
        images = tissue()
        same, masks = augment(images, masks_of(images), Augmentation(preset="none"), seeded())
        assert torch.equal(same, images)
        assert torch.equal(masks, masks_of(images))

    @given(
        seed=st.integers(0, 10_000),
        preset=st.sampled_from(["histology", "strong", "scenes"]),
        size=st.sampled_from([(24, 24), (24, 36), (35, 17)]),
    )
    def test_masks_stay_integral_and_nothing_new_appears_but_255(
        self, seed: int, preset: str, size: tuple[int, int]
    ) -> None:
        images = tissue(3, *size)
        masks = masks_of(images) * 3 + 1
        masks[:, :4] = 255
        section = Augmentation.model_validate({"preset": preset})
        _, moved = augment(images, masks, section, seeded(seed))
        assert set(moved.unique().tolist()) <= {1, 4, 255}


class TestGeometry:
    @pytest.mark.parametrize("part", ["flip", "quarter_turns", "rotate", "crop"])
    def test_a_mask_moves_with_its_image(self, part: str) -> None:
        values = {"degrees": 30.0} if part == "rotate" else {}
        blocks = torch.zeros((8, 40, 40), dtype=torch.long)
        blocks[:, 8:20, 24:36] = 1
        images = (blocks[:, None].expand(-1, 3, -1, -1) * 200).to(torch.uint8)
        changed, moved = augment(images, blocks, only(part, **values), seeded())
        assert not torch.equal(moved, blocks)
        seen = moved != 255
        agree = ((changed[:, 0] > 100).long() == moved)[seen]
        assert agree.float().mean() > 0.995

    @given(
        seed=st.integers(0, 10_000),
        preset=st.sampled_from(["histology", "strong", "scenes"]),
        size=st.sampled_from([(48, 48), (40, 64)]),
    )
    @settings(max_examples=60, deadline=None)
    def test_however_parts_combine_a_pixel_keeps_its_own_class(
        self, seed: int, preset: str, size: tuple[int, int]
    ) -> None:
        """The grey of a pixel tells its id; only where two blocks meet may it be in between."""
        blocks = torch.randint(0, 5, (3, 4, 4), generator=seeded(seed))
        masks = blocks.repeat_interleave(size[0] // 4, 1).repeat_interleave(size[1] // 4, 2)
        images = (masks[:, None].expand(-1, 3, -1, -1) * 50).to(torch.uint8)
        quiet = {"stain": {"probability": 0}, "colour": {"probability": 0}}
        section = Augmentation.model_validate({"preset": preset, **quiet})
        changed, moved = augment(images, masks, section, seeded(seed))
        apart = (changed[:, 0].float() / 50 - moved).abs()
        inner = functional.max_pool2d(changed[:, :1].float(), 3, 1, 1) == -functional.max_pool2d(
            -changed[:, :1].float(), 3, 1, 1
        )
        seen = (moved != 255) & inner[:, 0]
        assert seen.any()
        assert apart[seen].max() < 0.1

    def test_flips_and_quarter_turns_lose_no_pixel(self) -> None:
        images = tissue(16)
        section = Augmentation.model_validate(
            {"preset": "none", "flip": {}, "quarter_turns": {"probability": 0.75}}
        )
        changed, _ = augment(images, torch.zeros(16), section, seeded())
        for before, after in zip(images, changed, strict=True):
            turns = [torch.rot90(before, k, (1, 2)) for k in range(4)]
            symmetries = [*turns, *(turn.flip(2) for turn in turns)]
            assert any(torch.equal(after, symmetry) for symmetry in symmetries)

    def test_all_eight_symmetries_come_up(self) -> None:
        image = tissue(1).expand(400, -1, -1, -1)
        section = Augmentation.model_validate(
            {
                "preset": "none",
                "flip": {"probability": 0.5, "upside_down": 0.5},
                "quarter_turns": {"probability": 0.75},
            }
        )
        changed, _ = augment(image, torch.zeros(400), section, seeded())
        _, counts = torch.unique(changed.flatten(1), dim=0, return_counts=True)
        assert len(counts) == 8
        assert counts.min() > 25

    def test_a_known_angle_turns_by_that_angle_on_an_oblong_image(self) -> None:
        image = torch.zeros((1, 3, 120, 200), dtype=torch.uint8)
        image[:, :, 59:61, 80:120] = 255  # a level bar of 40 px
        section = only("rotate", degrees=90.0)
        for seed in range(5):
            angle = np.deg2rad(float(torch.rand((1, 1), generator=_third(seed)) * 180 - 90))
            changed, _ = augment(image, torch.zeros(1), section, seeded(seed))
            y, x = np.nonzero(changed[0, 0].numpy() > 60)
            direction = np.linalg.svd(np.c_[x - x.mean(), y - y.mean()], full_matrices=False)[2][0]
            # y points down, so a positive angle turns the bar the other way on paper.
            assert abs(np.dot(direction, [np.cos(angle), -np.sin(angle)])) > 0.998
            assert 36 < np.hypot(np.ptp(x), np.ptp(y)) < 44

    def test_shrinking_ignores_what_lies_outside_and_mirrors_the_image(self) -> None:
        images = tissue(4)
        section = only("crop", smallest=0.5, largest=0.5)
        changed, moved = augment(images, masks_of(images), section, seeded())
        assert (moved == 255).float().mean().item() == pytest.approx(0.75, abs=0.08)
        assert changed.min() > 50  # no black frame

    def test_a_shrunk_image_lies_anywhere_inside_what_is_seen(self) -> None:
        section = only("crop", smallest=0.5, largest=0.5)
        images = tissue(64)
        _, moved = augment(images, torch.ones((64, 32, 32), dtype=torch.long), section, seeded())
        first = (moved == 1).any(dim=1).float().argmax(dim=1)
        assert first.min() <= 1
        assert first.max() >= 15

    def test_enlarging_shows_a_part_that_lies_anywhere_inside(self) -> None:
        images = tissue(64)
        masks = torch.arange(32 * 32).view(1, 32, 32).expand(64, -1, -1) * 256
        section = only("crop", smallest=2.0, largest=2.0)
        _, moved = augment(images, masks, section, seeded())
        assert not (moved == 255).any()
        columns = (moved[:, 0, 0] // 256) % 32
        assert columns.min() <= 1
        assert columns.max() >= 14


class TestFloor:
    """A road of class 0 fills the image, but for a kiosk of other classes in one corner."""

    @staticmethod
    def street(batch: int, *, side: int = 96, kiosk: int = 40) -> tuple[Tensor, Tensor]:
        masks = torch.zeros((batch, side, side), dtype=torch.long)
        masks[:, :kiosk, : kiosk // 2] = 3
        masks[:, :kiosk, kiosk // 2 : kiosk] = 5
        masks[:, -6:] = 255
        return (masks[:, None].clamp(max=5).expand(-1, 3, -1, -1) * 50).to(torch.uint8), masks

    @staticmethod
    def others(masks: Tensor) -> Tensor:
        """Return the share of known pixels outside the largest class, (B,)."""
        counts = torch.stack([mask.flatten().bincount(minlength=256) for mask in masks])[:, :255]
        return 1 - counts.amax(1) / counts.sum(1).clamp(min=1)

    @pytest.mark.parametrize(("floor", "kiosk"), [(0.1, 40), (0.25, 56), (0.4, 56)])
    def test_parts_hold_the_floor_where_one_of_ten_places_does(
        self, floor: float, kiosk: int
    ) -> None:
        images, masks = self.street(200, kiosk=kiosk)
        zoom = {"smallest": 2.0, "largest": 2.0}
        _, anywhere = augment(images, masks, only("crop", **zoom), seeded())
        _, held = augment(images, masks, only("crop", **zoom, least_other=floor), seeded())
        # A share counted on a lattice differs a little from one counted on all pixels.
        assert (self.others(held) >= floor - 0.02).float().mean() > 0.97
        assert (self.others(anywhere) >= floor - 0.02).float().mean() < 0.8

    def test_the_first_place_is_taken_where_it_holds_the_floor(self) -> None:
        images, masks = self.street(100)
        zoom = {"smallest": 1.5, "largest": 2.5}
        _, anywhere = augment(images, masks, only("crop", **zoom), seeded())
        _, held = augment(images, masks, only("crop", **zoom, least_other=0.2), seeded())
        fine = self.others(anywhere) > 0.22
        assert 10 < fine.sum() < 90
        assert torch.equal(anywhere[fine], held[fine])

    def test_where_no_place_holds_it_the_best_is_taken(self) -> None:
        images, masks = self.street(200, kiosk=12)
        zoom = {"smallest": 3.0, "largest": 3.0}
        _, anywhere = augment(images, masks, only("crop", **zoom), seeded())
        _, held = augment(images, masks, only("crop", **zoom, least_other=0.9), seeded())
        assert (self.others(held) + 0.01 >= self.others(anywhere)).all()
        assert self.others(held).mean() > 3 * self.others(anywhere).mean()

    def test_a_mask_of_which_nothing_is_known_is_cut_too(self) -> None:
        images, masks = self.street(4)
        _, moved = augment(images, masks.fill_(255), Augmentation(preset="scenes"), seeded())
        assert (moved == 255).all()

    def test_a_class_id_needs_no_floor(self) -> None:
        images, _ = self.street(4)
        section = only("crop", smallest=2.0, largest=2.0)
        floor = only("crop", smallest=2.0, largest=2.0, least_other=0.5)
        cut, ids = augment(images, torch.arange(4), floor, seeded())
        assert torch.equal(cut, augment(images, torch.arange(4), section, seeded())[0])
        assert torch.equal(ids, torch.arange(4))


class TestDraws:
    @given(
        seed=st.integers(0, 10_000),
        preset=st.sampled_from(["none", "histology", "strong", "scenes"]),
        size=st.sampled_from([(1, 1), (16, 16), (9, 30)]),
        kind=st.sampled_from(["masks", "ids"]),
    )
    def test_what_is_drawn_hangs_on_the_number_of_images_alone(
        self, seed: int, preset: str, size: tuple[int, int], kind: str
    ) -> None:
        plain, other = seeded(seed), seeded(seed)
        images = tissue(3, *size)
        augment(tissue(3), torch.zeros(3), Augmentation(preset="none"), plain)
        targets = masks_of(images) if kind == "masks" else torch.zeros(3)
        augment(images, targets, Augmentation.model_validate({"preset": preset}), other)
        assert torch.equal(plain.get_state(), other.get_state())

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to compare with")
    @pytest.mark.parametrize("preset", ["histology", "strong", "scenes"])
    def test_a_gpu_makes_the_same_of_a_batch(self, preset: str) -> None:
        images = tissue(8, 96, 96)
        section = Augmentation.model_validate({"preset": preset})
        here = augment(images, masks_of(images), section, seeded())
        there = augment(images.cuda(), masks_of(images).cuda(), section, seeded())
        assert (here[1] == there[1].cpu()).float().mean() > 0.999
        apart = (here[0].int() - there[0].cpu().int()).abs()
        assert (apart <= 2).float().mean() > 0.999


class TestColours:
    def test_stains_change_as_far_as_asked_and_no_further(self) -> None:
        images = tissue(64)
        changed, _ = augment(images, torch.zeros(64), only("stain", strength=0.1), seeded())
        before, after = _stains(images), _stains(changed)
        # after = before * factor + shift: fit each stain of each image.
        for stain in range(2):
            fits = [
                np.polyfit(before[i, stain].ravel(), after[i, stain].ravel(), 1) for i in range(64)
            ]
            factors, shifts = np.array(fits).T
            assert 0.85 < factors.min() < 0.95 < 1.05 < factors.max() < 1.15
            assert np.abs(shifts).max() < 0.13

    def test_stains_of_no_strength_change_nothing(self) -> None:
        images = tissue()
        same, _ = augment(images, torch.zeros(6), only("stain", strength=0.0), seeded())
        assert torch.equal(same, images)

    def test_grey_stays_grey_under_hue_and_saturation(self) -> None:
        grey = torch.full((8, 3, 4, 4), 120, dtype=torch.uint8)
        section = only("colour", brightness=0, contrast=0, saturation=0.5, hue_degrees=60)
        same, _ = augment(grey, torch.zeros(8), section, seeded())
        assert (same.int() - 120).abs().max() <= 1

    def test_contrast_keeps_the_mean_and_brightness_moves_it(self) -> None:
        images = tissue(16)
        weights = torch.tensor([0.299, 0.587, 0.114])
        means = images.float().mean(dim=(2, 3)) @ weights
        quiet = {"saturation": 0, "hue_degrees": 0}
        for values, largest in (
            ({"contrast": 0.4, "brightness": 0}, 2.0),
            ({"contrast": 0, "brightness": 0.2}, 40.0),
        ):
            changed, _ = augment(
                images, torch.zeros(16), only("colour", **values, **quiet), seeded()
            )
            moved = (changed.float().mean(dim=(2, 3)) @ weights - means).abs()
            assert moved.max() <= largest
            assert (largest < 10) == bool(moved.max() < 10)


class TestSection:
    def test_a_preset_fills_what_is_not_given_and_survives_a_round_trip(self) -> None:
        section = Augmentation.model_validate({"preset": "strong", "stain": {"strength": 0.1}})
        assert (section.stain.strength, section.stain.probability) == (0.1, 0.8)
        assert Augmentation.model_validate(section.model_dump(mode="json")) == section

    def test_scenes_stay_upright_and_unstained(self) -> None:
        section = Augmentation(preset="scenes")
        assert section.flip.upside_down == section.stain.probability == 0.0
        assert section.quarter_turns.probability == 0.0
        assert (section.crop.smallest, section.crop.largest) == (0.5, 2.0)
        assert section.crop.least_other == 0.25

    @pytest.mark.parametrize(
        "bad",
        [{"stain": {"probability": 2}}, {"crop": {"smallest": 2, "largest": 1}}, {"scale": {}}],
    )
    def test_nonsense_is_refused(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Augmentation.model_validate(bad)


def test_an_example_needs_neither_datasets_nor_pyarrow() -> None:
    code = (
        "import sys, wsi_vit.datasets.example; "
        "sys.exit(bool({'datasets', 'pyarrow', 'sklearn', 'PIL', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _third(seed: int) -> torch.Generator:
    """A generator that stands where the angle is drawn: after four draws of one number."""
    generator = seeded(seed)
    for _ in range(4):
        torch.rand((1, 1), generator=generator)
    return generator


def _stains(images: Tensor) -> np.ndarray:
    """Separate stains (B, 3, H, W) with numpy, as in Ruifrok & Johnston."""
    matrix = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    density = -np.log((images.numpy().astype(float) + 1) / 256)
    return np.einsum("bchw,cs->bshw", density, np.linalg.inv(matrix))
