"""An easy task, and a tiny Vision Transformer that has learnt it in seconds."""

from functools import cache

import torch
from torch import Tensor

from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import TokenLearnerSection, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.models.vit.model import Vit
from wsi_vit.prediction.applied import AppliedModel

SIDE_PX, PATCH_PX = 48, 8
GRID = SIDE_PX // PATCH_PX
LABELS = LabelMap.model_validate(
    {
        "classes": [
            {"name": "red", "colour": "#d55e00"},
            {"name": "green", "colour": "#009e73"},
            {"name": "none", "colour": "#5b6570"},
        ]
    }
)
"""The colour of the one bright blob, or that there is none: both colours need evidence."""
OPTIONS = {"width": 32, "depth": 2, "heads": 2, "patch_px": PATCH_PX, "mlp_width": 64}


def blobs(count: int, *, seed: int, classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return grey noise with one blob, as wide as a patch, whose colour is the class, or none.

    uint8 (N, 3, side, side), class (N,), and the patch it lies on, (N, 2) row and column.
    """
    torch.manual_seed(seed)
    images = torch.randint(80, 160, (count, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    targets, places = torch.randint(0, classes, (count,)), torch.randint(0, GRID, (count, 2))
    bright = torch.tensor([[255, 60, 60], [60, 255, 60]], dtype=torch.uint8)
    for image, target, (row, column) in zip(images, targets, places.tolist(), strict=True):
        if target < 2:
            part = image[:, PATCH_PX * row :, PATCH_PX * column :]
            part[:, :PATCH_PX, :PATCH_PX] = bright[target][:, None, None]
    return images, targets, places


def new_vit(*, token_learner: TokenLearnerSection | None = None, pool: str = "cls") -> Vit:
    torch.manual_seed(0)
    section = VitSection.model_validate(
        {
            "start": ConfigStart(options=OPTIONS),
            "input_px": SIDE_PX,
            "token_learner": token_learner,
            "pool": pool,
        }
    )
    model = build_model(section, LABELS, "classification")
    assert isinstance(model, Vit)
    return model.eval()


@cache
def trained_vit() -> Vit:
    model = new_vit().train()
    images, targets, _ = blobs(2048, seed=1, classes=3)
    steps = 200
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        part = slice(64 * step % 2048, 64 * step % 2048 + 64)
        loss = model.loss({"images": images[part], "targets": targets[part]})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def applied(model: Vit | None = None) -> AppliedModel:
    return AppliedModel(model=model or trained_vit(), digest="b1" * 32, device=torch.device("cpu"))
