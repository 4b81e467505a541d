"""How a model is applied."""

from pydantic import Field

from wsi_vit.section import Section


class PredictionSection(Section):
    """What decides how a slide or a picture is predicted, and how the result is drawn."""

    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """Share of a tile's side that neighbours have in common; segmentation only."""
    min_tissue: float | None = Field(default=None, ge=0, le=1)
    """Least share of tissue of a predicted tile; absent: any tissue for segmentation, what the
    model was trained with for classification."""
    min_area_um2: float = Field(default=1000.0, ge=0)
    """Outlines and holes below this area are left out: 1000 µm² is a patch of some ten cells."""
    outline_px: int = Field(default=8_000_000, ge=1_000_000)
    """Outlines follow the finest level of the class map that has at most this many pixels."""
    overview_px: int = Field(default=1100, ge=200, le=6000)
    """Longest side of each picture of an overview."""
    batch_size: int = Field(default=16, ge=1)
    """Tiles that go through the model at once; shapes no result."""
    memory_mb: int = Field(default=512, ge=32)
    """Ceiling of what stitching may hold; wider slides are done in vertical stripes."""

    def shaping(self) -> dict[str, object]:
        """Return the settings that decide the result: all but how fast it is made."""
        return self.model_dump(mode="json", exclude={"batch_size", "memory_mb"})
