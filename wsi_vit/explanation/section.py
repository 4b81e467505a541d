"""How a model is explained."""

from typing import Literal

from pydantic import Field

from wsi_vit.section import Section

Method = Literal["rollout", "gradient", "attention", "tokens", "gradcam"]
"""`rollout`: attention followed through all blocks (Abnar & Zuidema 2020). `gradient`: the same,
of the attention that speaks for a class (Chefer et al. 2021). `attention`: the last block's alone,
head by head. `tokens`: a TokenLearner's maps. `gradcam`: the last feature maps that speak for a
class (Selvaraju et al. 2017)."""

Fusion = Literal["mean", "max", "min"]
"""How the heads of a block become one."""

_SPEED = {"batch_size", "memory_mb"}
_ONLY_SLIDES = {"overlap"}
_ONLY_ROLLOUT = {"fusion", "discard"}


class FaithfulnessSection(Section):
    """How a map is tested."""

    steps: int = Field(default=20, ge=2, le=1000)
    """Into how many parts deleting, and inserting, is cut."""
    random_maps: int = Field(default=20, ge=2, le=1000)
    """Maps of random numbers that the map is held against."""
    images: int = Field(default=8, ge=2)
    """Tiles of a slide that are tested, drawn at random."""
    seed: int = 0


class ExplanationSection(Section):
    """What decides how a picture or a slide is explained, and how the result is drawn."""

    method: Method | None = None
    """Absent: `rollout` where a model has attention, else `gradcam`."""
    class_name: str | None = None
    """For which class; absent: the one that is predicted, for each picture and each tile."""
    fusion: Fusion = "mean"
    """Of `rollout`."""
    discard: float = Field(default=0.0, ge=0, lt=1)
    """Share of each block's weights, the smallest, that `rollout` takes for none."""
    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """Share of a slide's tile that neighbours have in common; a map knows less at a tile's rim."""
    overview_px: int = Field(default=900, ge=200, le=6000)
    """Longest side of each picture of a figure."""
    faithfulness: FaithfulnessSection | None = None
    batch_size: int = Field(default=8, ge=1)
    """Tiles that go through the model at once; shapes no result."""
    memory_mb: int = Field(default=1024, ge=64)
    """Ceiling of what attention and its gradients may hold; fewer tiles go through at once."""

    def shaping(self, what: Literal["slides", "pictures"]) -> dict[str, object]:
        """Return the settings that decide a result: all but how fast it is made."""
        others = set[str]() if what == "slides" else _ONLY_SLIDES
        if self.method not in (None, "rollout"):
            others |= _ONLY_ROLLOUT
        return self.model_dump(mode="json", exclude=_SPEED | others)
