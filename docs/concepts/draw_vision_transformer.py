"""Draw the pictures of vision-transformer.md.

    python docs/concepts/draw_vision_transformer.py --weights FOLDER

FOLDER holds a ViT or DINOv2 of the Hugging Face hub (those in the documents are DINOv2 ViT-S/14's);
the tissue is synthetic. The same weights give the same pictures.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.evaluation.style import INK, bare, new_figure, panel
from wsi_vit.explanation.features import position_similarity
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import VitSection
from wsi_vit.models.start import FolderStart
from wsi_vit.models.vit.model import Vit
from wsi_vit.models.vit.transformer import sincos_positions
from wsi_vit.slides.synthetic.cohort import synthesise_slide
from wsi_vit.slides.synthetic.settings import MASK_FACTOR, SyntheticSection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUT = Path(__file__).parents[1] / "pictures"
CLASSES = ("one", "two")
"""Of a head that is not looked at."""

Picture = NDArray[np.uint8]


def tissue(side_px: int) -> Picture:
    """Return a square of synthetic tissue (side, side, 3) where most compartments meet."""
    section = SyntheticSection(width_px=2048, height_px=1536, pen_share=0)
    slide = synthesise_slide(seed=4, number=0, section=section)
    ids, side = slide.layout.ids, side_px // MASK_FACTOR
    places = [
        (len(np.unique(part)) - 2 * float((part == 0).mean()), y, x)
        for y in range(0, ids.shape[0] - side, 16)
        for x in range(0, ids.shape[1] - side, 16)
        for part in [ids[y : y + side, x : x + side]]
    ]
    _, y, x = max(places)
    top, left = y * MASK_FACTOR, x * MASK_FACTOR
    return slide.picture[top : top + side_px, left : left + side_px]


def draw_patches(picture: Picture, patch_px: int) -> Path:
    """Draw an image, and the patches that it is cut into."""
    gap = patch_px // 4
    rows = picture.shape[0] // patch_px
    step = patch_px + gap
    apart = np.full((rows * step - gap, rows * step - gap, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(rows):
            y, x = row * patch_px, column * patch_px
            part = picture[y : y + patch_px, x : x + patch_px]
            apart[row * step :, column * step :][:patch_px, :patch_px] = part
    figure = new_figure(width_in=10, height_in=5.2)
    left, right = panel(figure, 1, 2)[0]
    words = f"{rows} x {rows} patches of {patch_px} px"
    show(left, picture, f"an image of {picture.shape[0]} px")
    show(right, apart, f"{words}: {rows**2} tokens")
    return keep(figure, "vit-patches.jpg")


def draw_positions(learned: Tensor) -> Path:
    """Draw how alike the position of some patches is to all, by formula and as learned.

    Args:
        learned: (side * side, width).
    """
    side = round(len(learned) ** 0.5)
    kinds = {
        "sines and cosines": sincos_positions(side, side, learned.shape[1]).float(),
        "learned (DINOv2)": learned,
    }
    figure = new_figure(width_in=10, height_in=5.4)
    axes = panel(figure, 2, 4)
    chosen = [(side // 6, side // 6), (side // 6, side // 2), (side // 2, side // 2)]
    chosen.append((side - side // 6, side - side // 4))
    for row, (words, positions) in zip(axes, kinds.items(), strict=True):
        similar = position_similarity(positions)
        for axis, (y, x) in zip(row, chosen, strict=True):
            alike = similar[y * side + x].reshape(side, side)
            axis.imshow(alike.numpy(), cmap="cividis", vmin=-1, vmax=1)
            axis.plot(x, y, "o", color="white", markersize=5, markeredgecolor=INK)
            bare(axis)
        row[0].set_title(words, loc="left", color=INK, fontsize=12, fontweight="bold")
    return keep(figure, "vit-positions.jpg")


def draw_attention(model: Vit, picture: Picture) -> Path:
    """Draw what the class token attends to in the last block, head by head."""
    images = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        last = model.watched(images).attention[-1][0]
    made = model.network.encoder.architecture
    maps = last[:, 0, made.special :].unflatten(1, (made.grid, made.grid))
    large = F.interpolate(maps[None], size=picture.shape[:2], mode="bilinear")[0].numpy()
    figure = new_figure(width_in=12, height_in=3.6 * (1 + len(large) // 4))
    axes = panel(figure, 1 + len(large) // 4, 4).ravel()
    show(axes[0], picture, f"{picture.shape[0]} px of synthetic tissue")
    for number, (axis, attention) in enumerate(zip(axes[1:], large, strict=False), start=1):
        axis.imshow(picture)
        top = np.quantile(attention, 0.995)
        axis.imshow(attention, cmap="magma", vmin=0, vmax=top, alpha=0.75)
        bare(axis)
        axis.set_title(f"head {number}", loc="left", color=INK, fontsize=12)
    for axis in axes[1 + len(large) :]:
        axis.set_axis_off()
    return keep(figure, "vit-attention.jpg")


def keep(figure: "Figure", name: str) -> Path:
    """Write a JPEG with a margin."""
    path = OUT / name
    figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.12, pil_kwargs={"quality": 88})
    return path


def show(axes: "Axes", picture: Picture, words: str) -> None:
    """Show a picture under its words."""
    axes.imshow(picture)
    bare(axes)
    axes.set_title(words, loc="left", color=INK, fontsize=12)


def main() -> None:
    """Draw all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    weights: Path = parser.parse_args().weights
    labels = LabelMap(classes=tuple(LabelClass(name=name, colour="#000000") for name in CLASSES))
    section = VitSection(start=FolderStart(path=weights), input_px=448)
    model = build_model(section, labels, "classification").eval()
    assert isinstance(model, Vit)
    positions = model.network.encoder.embedding.positions
    first = model.network.encoder.architecture.placed
    picture = tissue(448)
    draw_patches(picture[::2, ::2], 16)
    draw_positions(positions.detach()[0, first:])
    draw_attention(model, picture)


if __name__ == "__main__":
    main()
