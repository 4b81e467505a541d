"""Stored tiles keep the scanner's colours; examples have those that the recipe asks for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.making import LABELS, cohort_shards
from wsi_vit.datasets.build import SlideShards, build_from_shards
from wsi_vit.datasets.decoding import decode_image
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.datasets.splits import PatientSplit
from wsi_vit.datasets.stains import STAINS
from wsi_vit.errors import DatasetError
from wsi_vit.slides.stain.fit import Outcome, StainFit
from wsi_vit.slides.stain.section import MacenkoStain, StainTarget
from wsi_vit.slides.stain.stage import SlideStain
from wsi_vit.store import Artefact, Shape, Store

GLASS = (240.0, 240.0, 240.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def stain_of(number: int, outcome: Outcome = "fitted") -> SlideStain:
    section = MacenkoStain(target=StainTarget(amounts=(0.9, 0.5)))
    if outcome != "fitted":
        return SlideStain(
            section=section, fit=StainFit(outcome=outcome, glass=GLASS, pixels=10 + number)
        )
    fit = StainFit(
        outcome="fitted",
        glass=GLASS,
        pixels=5000,
        haematoxylin=(0.64, 0.72, 0.27),
        eosin=(0.1, 0.95, 0.28),
        amounts=(0.6 + number / 10, 0.3),
    )
    return SlideStain(section=section, fit=fit)


def kept(store: Store, stain: SlideStain) -> Artefact:
    shape = Shape.of("stain", 1, sections={"stain": stain}, inputs={})
    return store.ensure(shape, lambda _: stain.model_dump(mode="json"))


def built(store: Store, shards: list[SlideShards], *outcomes: Outcome) -> Artefact:
    stains = [kept(store, stain_of(i, outcome)) for i, outcome in enumerate(outcomes)]
    both = [
        replace(shard, stain=stain) for shard, stain in zip(shards, stains, strict=bool(stains))
    ]
    how: dict[str, Any] = {"task": "classification", "split": PatientSplit(), "name": "tiny"}
    return build_from_shards(both or shards, labels=LABELS, store=store, **how)


def test_examples_go_through_their_own_slides_map_and_the_shards_stay(store: Store) -> None:
    shards = cohort_shards(store, slides=8)
    before = [shard.tiles.digest for shard in shards]
    opened = open_dataset(built(store, shards, *["fitted"] * 8).folder)
    examples = opened.examples("train")
    for index in (0, len(examples) - 1):
        example, stored = examples[index], decode_image(examples.encoded(index), name="stored")
        found = stain_of(int(example.slide_id[1:])).map
        assert found is not None
        np.testing.assert_array_equal(example.image, found.apply(stored))
        assert np.abs(example.image.astype(int) - stored).mean() > 5
    assert [shard.tiles.digest for shard in shards] == before


def test_a_slide_without_a_fit_keeps_its_colours_and_the_card_says_why(store: Store) -> None:
    outcomes: list[Outcome] = ["one_stain", *["fitted"] * 6, "grey"]
    artefact = built(store, cohort_shards(store, slides=8), *outcomes)
    assert artefact.facts["stain"] == {"mapped": 6, "kept": {"s00": "one_stain", "s07": "grey"}}
    warned = [line for line in artefact.facts["warnings"] if "keep their colours" in line]
    assert warned == [
        "1 slides keep their colours, unlike the others: what absorbs light is grey (s07).",
        "1 slides keep their colours, unlike the others: all that is stained has one colour (s00).",
    ]
    assert warned[0] in (artefact.folder / "dataset_card.md").read_text()
    opened = open_dataset(artefact.folder)
    for split in ("train", "validation", "test"):
        examples = opened.examples(split)
        for index, slide_id in enumerate(examples.slide_ids):
            if slide_id in ("s00", "s07"):
                stored = decode_image(examples.encoded(index), name="stored")
                np.testing.assert_array_equal(examples[index].image, stored)


def test_stains_shape_a_dataset_and_their_absence_changes_nothing(store: Store) -> None:
    shards = cohort_shards(store, slides=8)
    plain = built(store, shards)
    assert not (plain.folder / STAINS).exists()
    assert "stain" not in plain.facts
    mapped = built(store, shards, *["fitted"] * 8)
    assert mapped.facts["digest"] != plain.facts["digest"]
    assert mapped.facts["split_digest"] == plain.facts["split_digest"]


def test_stains_that_were_changed_behind_its_back_are_damage(store: Store) -> None:
    folder = built(store, cohort_shards(store, slides=8), *["fitted"] * 8).folder
    path = folder / STAINS
    path.chmod(0o644)
    path.write_text(path.read_text().replace("0.95", "0.85"))
    with pytest.raises(DatasetError, match=r"stains\.json is missing or was changed"):
        open_dataset(folder)
