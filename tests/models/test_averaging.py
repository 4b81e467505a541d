"""Views: each pixel keeps its place, and what a model favours on one side is evened out."""

from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from wsi_vit.models.averaging import Average, averaged, averaged_scores
from wsi_vit.models.model import Model

IMAGES = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)


@dataclass
class Slanted:
    """Scores are the first two channels, plus what falls from left to right, or with the rows."""

    task: str = "segmentation"
    across: float = 0.0
    down: float = 0.0
    views: int = 0

    def scores(self, images: Tensor) -> Tensor:
        self.views += 1
        height, width = images.shape[-2:]
        slant = self.across * torch.linspace(-1, 1, width)
        slope = self.down * torch.linspace(-1, 1, height)[:, None]
        scores = images[:, :2].float() + slant + slope
        return scores if self.task == "segmentation" else scores[:, :, 0, 0]


def asked(model: Any, average: Average) -> Tensor:
    return averaged_scores(cast(Model, model), IMAGES, average)


@pytest.mark.parametrize(("average", "views"), [("none", 1), ("flips", 2), ("symmetries", 8)])
def test_pixels_keep_their_place(average: Average, views: int) -> None:
    model = Slanted()

    torch.testing.assert_close(asked(model, average), IMAGES[:, :2].float())
    assert model.views == views


def test_flips_even_out_left_and_right_but_not_up_and_down() -> None:
    level = IMAGES[:, :2].float()

    torch.testing.assert_close(asked(Slanted(across=9), "flips"), level)
    assert not torch.allclose(asked(Slanted(down=9), "flips"), level)
    assert not torch.allclose(asked(Slanted(across=9), "none"), level)


def test_symmetries_even_out_every_direction() -> None:
    model = Slanted(across=9, down=-4)

    torch.testing.assert_close(asked(model, "symmetries"), IMAGES[:, :2].float())


def test_a_model_is_judged_by_its_averaged_scores_and_is_itself_in_all_else() -> None:
    model = Slanted(across=9)

    judged = averaged(cast(Model, model), "flips")

    torch.testing.assert_close(judged.scores(IMAGES), IMAGES[:, :2].float())
    assert judged.task == "segmentation"
    assert averaged(cast(Model, model), "none") is model


def test_labels_are_averaged_over_the_corners_that_are_seen_first() -> None:
    corners = IMAGES[:, :2, [0, 0, -1, -1], [0, -1, 0, -1]].float()

    torch.testing.assert_close(asked(Slanted("classification"), "flips"), corners[..., :2].mean(-1))
    torch.testing.assert_close(asked(Slanted("classification"), "symmetries"), corners.mean(-1))
