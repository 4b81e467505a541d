"""Whether a recipe's labels are what they should be: everything at once, before a GPU is asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_vit.datasets.check import LabelReport, MaskReport, check_labels, check_masks
from wsi_vit.datasets.image_targets import TargetReader, decoded_size
from wsi_vit.datasets.images import ImageSource, SourceIds, SourceImage
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.errors import WsiVitError
from wsi_vit.pipeline.label_pictures import draw_histogram, draw_samples
from wsi_vit.pipeline.outcomes import Progress, silent
from wsi_vit.pipeline.showing import draw_examples
from wsi_vit.pipeline.tiling import build, tile_cohort
from wsi_vit.recipe import Recipe
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.store import canonical_json, write_whole


class CheckOutcome(Section):
    """What a look at a recipe's labels found."""

    recipe: str
    problems: tuple[str, ...]
    """Why it must not be trained on; empty where all is well."""
    warnings: tuple[str, ...]
    masks: MaskReport | None
    """Of the source's own masks; None where targets are read from none, and for slides."""
    dataset: LabelReport | None
    """Of the dataset that was built; None where problems kept it from being built."""
    folder: Path
    """Where the pictures and this record (`check.json`) are."""
    pictures: tuple[Path, ...]

    @property
    def passed(self) -> bool:
        """Whether it may be trained on."""
        return not self.problems

    def source_rows(self) -> list[dict[str, Any]]:
        """Return the source ids, most pixels first, as rows of a table."""
        rows = self.masks.census.sources if self.masks else ()
        return [
            {
                "source": f"{row.source_id} {row.name}".strip(),
                "pixels": row.pixels,
                "share": f"{row.share:.2%}",
                "masks": row.masks,
                "becomes": row.becomes if row.listed else f"{row.becomes} (not listed)",
            }
            for row in sorted(rows, key=lambda row: -row.pixels)
        ]

    def class_rows(self) -> list[dict[str, Any]]:
        """Return the classes as rows of a table: of the masks, else of the dataset."""
        if self.masks:
            return [
                {
                    "id": row.export_id,
                    "class": row.name,
                    "pixels": row.pixels,
                    "share": f"{row.share:.2%}",
                    "masks": row.masks,
                }
                for row in self.masks.census.classes
            ]
        splits = self.dataset.splits if self.dataset else {}
        names = self.dataset.classes if self.dataset else ()
        return [
            {"class": name, **{split: held.amount[name] for split, held in splits.items()}}
            for name in names
        ]

    def lines(self) -> Iterator[str]:
        """Yield the verdict, then each problem and warning, as sentences."""
        if self.passed:
            yield f"{self.recipe}: the labels are sound."
        else:
            count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
            yield f"{self.recipe}: {count}; it must not be trained on."
        yield from (f"  refused: {problem}" for problem in self.problems)
        yield from (f"  beware: {warning}" for warning in self.warnings)
        yield f"Look at {', '.join(str(path) for path in self.pictures) or 'nothing: no picture'}"


def check_recipe(
    recipe: Recipe, *, out: Path | None = None, settings: Settings, progress: Progress = silent
) -> CheckOutcome:
    """Hold a recipe's data against its label map and the known traps; draw what it finds.

    Masks are counted before and after the label map; the dataset is built and checked only where
    they pass. Pictures and `check.json` go to `out`, else to `checks/<recipe>` beside the runs.
    """
    folder = settings.runs / "checks" / recipe.name if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    found = _Examination(recipe, settings, folder, progress)
    if isinstance(recipe.source, ImageSource) and recipe.source.has_masks_for(recipe.task):
        found.guarded(found.at_masks)
    if not found.problems:
        found.guarded(found.at_dataset)
    outcome = found.outcome()
    with write_whole(folder / "check.json") as scratch:
        scratch.write_text(canonical_json(outcome))
    return outcome


@dataclass(frozen=True, slots=True)
class _Sized:
    """A mask that must be the size of its image, and an image that must be whole."""

    image: SourceImage

    @property
    def relative(self) -> str:
        return self.image.relative

    def image_bytes(self) -> bytes:
        return self.image.image_bytes()

    def source_ids(self) -> SourceIds:
        ids = self.image.source_ids()
        try:
            size = decoded_size(self.image.image_bytes())
        except ValueError as error:
            raise ValueError(f"is of an image that {error}") from error
        if ids.shape != size:
            raise ValueError(f"is {ids.shape}, not {size} (height, width) as its image")
        return ids


class _Examination:
    """One look at a recipe's labels: collects what is wrong, and what was drawn."""

    def __init__(
        self, recipe: Recipe, settings: Settings, folder: Path, progress: Progress
    ) -> None:
        self.recipe, self.settings, self.folder = recipe, settings, folder
        self.progress = progress
        self.problems, self.warnings = list[str](), list[str]()
        self.pictures = list[Path]()
        self.masks: MaskReport | None = None
        self.dataset: LabelReport | None = None

    def guarded(self, step: Callable[[], None]) -> None:
        """Take a step; an error of ours is a problem to be told with the others."""
        try:
            step()
        except WsiVitError as error:
            self.problems.append(str(error))

    def at_masks(self) -> None:
        """Count the source's masks and draw them, before and after the label map."""
        source = self.recipe.source
        assert isinstance(source, ImageSource)
        reader = TargetReader.of(source, self.recipe.labels, self.recipe.task)
        images = [_Sized(image) for image in source.find() if not image.left_out]
        report = check_masks(self._told(images), reader)
        self.masks = report
        self.problems += report.problems
        self.warnings += report.warnings
        if report.census.masks:
            self.pictures.append(
                draw_histogram(report.census, reader.labels, self.folder / "labels.png")
            )
        drawn = draw_samples(images, report.census, reader, self.folder / "samples.png")
        self.pictures += [drawn] if drawn else []

    def at_dataset(self) -> None:
        """Build the dataset and check what its splits show."""
        outcomes = tile_cohort(self.recipe, settings=self.settings, progress=self.progress)
        lost = [item.slide_id for item in outcomes if item.state == "quarantined"]
        self.warnings += [f"{len(lost)} slides are quarantined: {', '.join(lost)}"] if lost else []
        data = open_dataset(build(self.recipe, outcomes, settings=self.settings).folder)
        self.dataset = check_labels(data)
        self.warnings += self.dataset.warnings
        if self.masks is None or data.task == "multi_label":
            name = "samples.png" if self.masks is None else "examples.png"
            self.pictures.append(draw_examples(data, self.folder / name))

    def outcome(self) -> CheckOutcome:
        """Return what was found."""
        return CheckOutcome(
            recipe=self.recipe.name,
            problems=tuple(self.problems),
            warnings=tuple(dict.fromkeys(warning.rstrip(".") for warning in self.warnings)),
            masks=self.masks,
            dataset=self.dataset,
            folder=self.folder,
            pictures=tuple(self.pictures),
        )

    def _told(self, images: Sequence[_Sized]) -> Iterator[_Sized]:
        for number, image in enumerate(images):
            self.progress("reading masks", number, len(images))
            yield image
        self.progress("reading masks", len(images), len(images))
