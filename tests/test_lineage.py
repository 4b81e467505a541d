from pathlib import Path
from typing import Any

import pytest

from wsi_vit.errors import StoreError
from wsi_vit.lineage import explain_artefact
from wsi_vit.store import Artefact, Shape, Store

SLIDE = "a" * 64


def made(store: Store, stage: str, sections: dict[str, Any], inputs: dict[str, str]) -> Artefact:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "data").write_text(stage)
        return {}

    return store.ensure(Shape.of(stage, 1, sections=sections, inputs=inputs), build)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_chain_goes_down_to_the_slide(store: Store) -> None:
    tiles = made(store, "tiles", {"grid": {"tile_px": 64}}, {"slide": SLIDE})
    dataset = made(store, "dataset", {"split": {"seed": 0}}, {"tiles": tiles.digest})

    found = explain_artefact(dataset.folder, store.root)

    (below,) = found.causes
    assert (below.stage, below.digest, below.folder) == ("tiles", tiles.digest, tiles.folder)
    (slide,) = below.causes
    assert (slide.role, slide.stage, slide.digest) == ("slide", "input", SLIDE)
    assert list(found.lines()) == [
        f"this: dataset {dataset.digest[:16]}  {dataset.folder}",
        "    split = {'seed': 0}",
        f"  tiles: tiles {tiles.digest[:16]}  {tiles.folder}",
        "      grid = {'tile_px': 64}",
        "    slide: input aaaaaaaaaaaaaaaa",
    ]


def test_a_dataset_is_found_by_the_digest_of_its_content(store: Store) -> None:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "data").write_text("rows")
        return {"digest": "d" * 64}

    dataset = store.ensure(Shape.of("dataset", 1, sections={}, inputs={"slide": SLIDE}), build)
    run = made(store, "run", {}, {"dataset": "d" * 64})

    (below,) = explain_artefact(run.folder, store.root).causes

    assert (below.stage, below.folder) == ("dataset", dataset.folder)


def test_what_the_store_no_longer_holds_is_still_named(store: Store, tmp_path: Path) -> None:
    dataset = made(store, "dataset", {}, {"tiles": SLIDE})

    (below,) = explain_artefact(dataset.folder, tmp_path / "empty").causes

    assert (below.role, below.stage, below.folder) == ("tiles", "input", None)


def test_a_long_setting_is_cut_on_its_line_only(store: Store) -> None:
    tiles = made(store, "tiles", {"names": ["x" * 200]}, {})

    found = explain_artefact(tiles.folder, store.root)

    (_, line) = found.lines()
    assert line.endswith(" ...")
    assert len(line) < 130
    assert found.sections == {"names": ["x" * 200]}


def test_a_folder_without_a_manifest_is_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No manifest"):
        explain_artefact(tmp_path, tmp_path)
