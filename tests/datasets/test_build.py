import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from datasets import concatenate_datasets, load_from_disk

from tests.datasets.making import LABELS, cohort_shards, image_folder, labels_of, tiles_of
from wsi_vit.datasets.build import SlideShards, build_from_images, build_from_shards
from wsi_vit.datasets.folder import FolderSource, MaskRule
from wsi_vit.datasets.masks import ThresholdValues
from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.datasets.splits import CohortSplit, FoldSplit, PatientSplit, RegionSplit
from wsi_vit.errors import DatasetError
from wsi_vit.store import Artefact, Store, verify_folder

SPLIT = PatientSplit(validation=0.25, test=0.25)


def built(store: Store, shards: list[SlideShards], **changes: Any) -> Artefact:
    how: dict[str, Any] = {"task": "classification", "split": SPLIT, "name": "tiny", **changes}
    return build_from_shards(shards, labels=LABELS, store=store, **how)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_tiles_come_back_with_their_class_place_and_patient(store: Store) -> None:
    dataset = open_dataset(built(store, cohort_shards(store, slides=8)).folder)
    sizes = {split: len(dataset.examples(split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 28, "validation": 14, "test": 14}
    examples = dataset.examples("train")
    first = examples[0]
    assert first.image.shape == (16, 16, 3)
    assert first.target.shape == ()
    assert first.key == f"{first.slide_id}/100_0"
    assert (examples.x[0], examples.y[0], examples.sites[0]) == (100.0, 0.0, "site0")
    assert first.patient == first.slide_id.replace("s", "p")
    assert [int(e.target) for e in examples.__getitems__(range(7))] == examples.labels[:7].tolist()


def test_unlabelled_tiles_are_left_out_by_index_and_nothing_is_rewritten(store: Store) -> None:
    shards = cohort_shards(store, slides=4)
    before = {shard.tiles.folder: shard.tiles.digest for shard in shards}
    artefact = built(store, shards)
    assert artefact.facts["unlabelled"] == 4
    assert artefact.facts["examples"] == 32
    assert all(store.find(s.tiles.manifest.shape) for s in shards)
    assert {s.tiles.folder: s.tiles.digest for s in shards} == before
    _, faults = verify_folder(store.root)
    assert faults == []


def test_the_library_opens_the_folder_itself_without_a_copy(store: Store) -> None:
    artefact = built(store, cohort_shards(store, slides=4))
    pixels = load_from_disk(str(artefact.folder))
    assert pixels.num_rows == 32
    assert {Path(item["filename"]).name for item in pixels.cache_files} == {"tiles.arrow"}
    assert pixels[0]["image"].size == (16, 16)
    arrows = list(artefact.folder.rglob("*.arrow"))
    assert [path.name for path in arrows] == ["sidecar.arrow"]
    parts = [load_from_disk(str(artefact.folder / below)) for below in ("", "labels", "sidecar")]
    joined = concatenate_datasets(parts, axis=1)
    assert joined[1]["label"] == 1
    assert joined.features["label"].names == list(LABELS.names)
    assert open_dataset(artefact.folder).table()[1]["patient"] == "p00"


def test_masks_keep_their_ids(store: Store) -> None:
    shards = cohort_shards(store, slides=4, task="segmentation")
    dataset = open_dataset(built(store, shards, task="segmentation").folder)
    examples = dataset.examples("train")
    first, second = examples.__getitems__([0, 1])
    assert first.target.shape == (16, 16)
    assert (np.unique(first.target), np.unique(second.target)) == ([1], [0])
    assert examples.counts[0].tolist() == [0, 256, 0]


def test_the_digest_knows_no_path_and_no_order(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "far/away/other")
    first = built(one, cohort_shards(one, slides=5))
    second = built(other, cohort_shards(other, slides=5)[::-1])
    assert first.digest == second.digest
    assert first.facts["digest"] == open_dataset(second.folder).digest
    for name in ("state.json", "splits.json", "dataset_card.md", "sidecar/sidecar.arrow"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_what_shapes_a_dataset_changes_its_digest(store: Store) -> None:
    shards = cohort_shards(store, slides=6)
    first = built(store, shards)
    assert built(store, shards).reused
    other_split = built(store, shards, split=PatientSplit(seed=1, validation=0.25, test=0.25))
    relabelled = labels_of(store, shards[0].tiles, [1] * 8, "classification")
    changed = [SlideShards(row=shards[0].row, tiles=shards[0].tiles, tile_labels=relabelled)]
    digests = {first.digest, other_split.digest, built(store, changed + shards[1:]).digest}
    assert len(digests) == 3


def test_a_store_moves_as_a_whole_and_a_link_leads_to_it(store: Store, tmp_path: Path) -> None:
    artefact = built(store, cohort_shards(store, slides=4))
    moved = tmp_path / "moved"
    store.root.rename(moved)
    folder = moved / "dataset" / artefact.folder.name
    link = tmp_path / "runs/x/dataset"
    link.parent.mkdir(parents=True)
    link.symlink_to(folder)
    assert open_dataset(link).examples("train")[0].image.shape == (16, 16, 3)
    assert load_from_disk(str(link)).num_rows == 32


def test_the_card_has_a_header_that_the_hub_reads_and_the_counts(store: Store) -> None:
    artefact = built(store, cohort_shards(store, slides=4))
    text = (artefact.folder / "dataset_card.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["task_categories"] == ["image-classification"]
    assert header["size_categories"] == ["n<1K"]
    assert artefact.facts["digest"] in text
    assert "| train | 14 | 2 | 2 | 7 (2) | 7 (2) |" in text


def test_the_frozen_split_names_its_patients(store: Store) -> None:
    artefact = built(store, cohort_shards(store, slides=4))
    splits = json.loads((artefact.folder / "splits.json").read_text())
    names = [name for part in splits["patients"].values() for name in part]
    assert sorted(names) == ["p00", "p01", "p02", "p03"]
    assert splits["digest"] == artefact.facts["split_digest"]
    assert splits["section"]["kind"] == "patients"


def test_regions_of_one_patient_say_so_everywhere(store: Store) -> None:
    shards = cohort_shards(store, slides=1, columns=12, lines=3)
    with pytest.raises(DatasetError, match="kind: regions"):
        built(store, shards)
    artefact = built(store, shards, split=RegionSplit())
    dataset = open_dataset(artefact.folder)
    assert dataset.estimate == "regions of one patient"
    assert dataset.split_kind == "regions"
    assert artefact.facts["left_out"] == 6
    assert "never be promoted" in (artefact.folder / "dataset_card.md").read_text()
    train, test = dataset.examples("train"), dataset.examples("test")
    assert np.abs(train.x[:, None] - test.x).min() >= 200


def test_a_slides_own_label_holds_for_its_tiles_where_nothing_was_drawn(store: Store) -> None:
    shards = [
        SlideShards(
            row=item.row.model_copy(update={"label": ("Tumour", "stroma")[number % 2]}),
            tiles=item.tiles,
        )
        for number, item in enumerate(cohort_shards(store, slides=6))
    ]
    dataset = open_dataset(built(store, shards).folder)
    examples = dataset.examples("train")
    expected = [1 - int(slide_id[1:]) % 2 for slide_id in examples.slide_ids]
    assert examples.labels.tolist() == expected


def test_the_cohorts_own_split_is_followed(store: Store) -> None:
    given = ("train", "validation", "test", "train")
    shards = [
        SlideShards(
            row=item.row.model_copy(update={"split": split}),
            tiles=item.tiles,
            tile_labels=item.tile_labels,
        )
        for item, split in zip(cohort_shards(store, slides=4), given, strict=True)
    ]
    dataset = open_dataset(built(store, shards, split=CohortSplit()).folder)
    assert set(dataset.examples("test").slide_ids) == {"s02"}


def test_equal_images_in_two_splits_are_reported(store: Store) -> None:
    shards = cohort_shards(store, slides=4)
    twin = tiles_of(store, "copy", columns=4, lines=2, seed=0)
    row = shards[3].row.model_copy(update={"slide_id": "copy"})
    shards[3] = SlideShards(
        row=row,
        tiles=twin,
        tile_labels=labels_of(store, twin, [0, 1] * 4, "classification"),
    )
    facts = [
        built(store, shards, split=PatientSplit(seed=s, validation=0.25, test=0.25)).facts
        for s in range(6)
    ]
    apart = [f for f in facts if f["duplicates"]]
    assert apart
    assert "byte for byte" in " ".join(apart[0]["warnings"])


class TestRefusals:
    def test_nothing_labelled_is_nothing_to_learn(self, store: Store) -> None:
        shards = [SlideShards(row=s.row, tiles=s.tiles) for s in cohort_shards(store, slides=4)]
        with pytest.raises(DatasetError, match=r"nothing to learn from.*Known: 0, Stroma"):
            built(store, shards)

    def test_labels_of_other_tiles_are_refused(self, store: Store) -> None:
        shards = cohort_shards(store, slides=4)
        labels = labels_of(store, shards[0].tiles, [0, 1], "classification")
        shards[0] = SlideShards(row=shards[0].row, tiles=shards[0].tiles, tile_labels=labels)
        with pytest.raises(DatasetError, match="s00: 2 labels, 8 tiles"):
            built(store, shards)

    def test_ids_beyond_the_label_map_are_refused(self, store: Store) -> None:
        shards = cohort_shards(store, slides=4, task="segmentation")
        stray = [np.full((16, 16), 7, np.uint8)] * 8
        labels = labels_of(store, shards[0].tiles, stray, "segmentation")
        shards[0] = SlideShards(row=shards[0].row, tiles=shards[0].tiles, tile_labels=labels)
        with pytest.raises(DatasetError, match=r"Got: 7\. Known: 0 stroma, 1 tumour"):
            built(store, shards, task="segmentation")

    def test_the_same_slide_twice_and_no_slide_are_refused(self, store: Store) -> None:
        shards = cohort_shards(store, slides=3)
        with pytest.raises(DatasetError, match="s00 is there twice"):
            built(store, [*shards, shards[0]])
        with pytest.raises(DatasetError, match="there are none"):
            built(store, [])

    def test_shards_of_another_store_are_refused(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="s00 lies elsewhere"):
            built(Store(tmp_path / "other"), cohort_shards(store, slides=3))

    def test_an_unknown_slide_label_is_named(self, store: Store) -> None:
        item = cohort_shards(store, slides=3)[0]
        row = item.row.model_copy(update={"label": "Tumor"})
        with pytest.raises(DatasetError, match=r"Got: Tumor\. Known: 0, Stroma"):
            built(store, [SlideShards(row=row, tiles=item.tiles)])


class TestOpening:
    @pytest.fixture
    def artefact(self, store: Store) -> Artefact:
        return built(store, cohort_shards(store, slides=4))

    def test_a_changed_split_is_refused(self, artefact: Artefact) -> None:
        path = artefact.folder / "splits.json"
        path.write_text(path.read_text().replace("p00", "p99"))
        with pytest.raises(DatasetError, match=r"splits\.json is missing or was changed"):
            open_dataset(artefact.folder)

    def test_a_lost_a_shortened_and_a_new_shard_are_refused(
        self, artefact: Artefact, store: Store
    ) -> None:
        shards = sorted((store.root / "tiles").iterdir())
        (shards[0] / "tiles.arrow").write_bytes(b"")
        shutil.rmtree(shards[1])
        manifest = shards[2] / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"tiles":8', '"tiles":9'))
        with pytest.raises(DatasetError) as caught:
            open_dataset(artefact.folder)
        for fault in ("gone or cut short", "is gone", "made anew"):
            assert fault in str(caught.value)

    def test_a_straddling_patient_is_found_though_all_digests_fit(
        self, artefact: Artefact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from wsi_vit.datasets import reading

        def one_patient(_path: Path) -> pa.Table:
            return pa.table({"patient": ["p", "p"], "split": ["train", "test"]})

        monkeypatch.setattr(reading, "open_stream", one_patient)
        with pytest.raises(DatasetError, match="more than one split"):
            open_dataset(artefact.folder)

    def test_another_artefact_is_no_dataset(self, artefact: Artefact, store: Store) -> None:
        assert artefact.folder.exists()
        with pytest.raises(DatasetError, match="This is no dataset"):
            open_dataset(next((store.root / "tiles").iterdir()))


SOURCE = FolderSource(
    images="*/image/*.png",
    label="^([^/]+)/image/",
    mask=MaskRule(find="/image/", replace="/label/", values=ThresholdValues(above=127)),
    patient=r"/P(\d+)-",
)


def from_folder(root: Path, store: Store, task: str, **changes: Any) -> TrainingSet:
    source = SOURCE.model_copy(update={"root": root, **changes})
    how: dict[str, Any] = {"labels": LABELS, "split": SPLIT, "name": "images", "store": store}
    return open_dataset(build_from_images(source, task=task, **how).folder)  # pyright: ignore


class TestFolders:
    def test_bytes_are_stored_as_they_are_and_masks_as_training_ids(
        self, store: Store, tmp_path: Path
    ) -> None:
        root = image_folder(tmp_path / "data")
        dataset = from_folder(root, store, "segmentation")
        examples = dataset.examples("train")
        name = examples.slide_ids[0]
        (path,) = root.glob(f"*/image/{name}.png")
        assert examples.encoded(0) == path.read_bytes()
        number = int(name.split("-")[1])
        expected = np.zeros((16, 16), np.uint8)
        expected[:, number:] = 1
        expected[0, 0] = 0
        assert np.array_equal(examples[0].target, expected)
        assert examples.patients[0] == name[1:4]

    def test_classes_come_from_the_path_and_patients_of_both_stay_whole(
        self, store: Store, tmp_path: Path
    ) -> None:
        dataset = from_folder(image_folder(tmp_path / "data"), store, "classification")
        examples = dataset.examples("train")
        assert [int(k.split("-")[1]) % 2 for k in examples.keys] == examples.labels.tolist()
        assert len(set(examples.patients)) * 2 == len(examples)

    def test_a_folder_without_patients_warns(self, store: Store, tmp_path: Path) -> None:
        root = image_folder(tmp_path / "data")
        dataset = from_folder(root, store, "classification", patient=None)
        assert "belong together is not known" in dataset.warnings[0]

    def test_all_problems_come_at_once_and_nothing_is_stored(
        self, store: Store, tmp_path: Path
    ) -> None:
        from PIL import Image

        root = image_folder(tmp_path / "data")
        masks = root / "Stroma/label"
        (masks / "P000-0.png").unlink()
        Image.fromarray(np.zeros((8, 16), np.uint8)).save(masks / "P001-2.png")
        (masks / "P002-4.png").write_bytes(b"no image")
        image = root / "Stroma/image/P003-6.png"
        image.write_bytes(image.read_bytes()[:200])
        deep = np.zeros((16, 16), np.uint16)
        Image.fromarray(deep).save(root / "Stroma/image/P004-8.png")
        with pytest.raises(DatasetError) as caught:
            from_folder(root, store, "segmentation")
        message = str(caught.value)
        for expected in (
            "5 problems",
            "P000-0.png: its mask is not there (Stroma/label/P000-0.png)",
            "P001-2.png: its mask is (8, 16), not (16, 16)",
            "P002-4.png: its mask cannot be decoded",
            "P003-6.png: cannot be decoded",
            "P004-8.png: I;16 pixels, not 8 bits",
        ):
            assert expected in message
        assert list(store.artefacts()) == []

    def test_mask_values_beyond_the_label_map_are_refused_or_given_away(
        self, store: Store, tmp_path: Path
    ) -> None:
        root = image_folder(tmp_path / "data")
        mask = MaskRule(find="/image/", replace="/label/")
        with pytest.raises(DatasetError, match="does not gather: 100, 200"):
            from_folder(root, store, "segmentation", mask=mask)
        lenient = from_folder(root, store, "segmentation", mask=mask, unknown="ignore")
        assert lenient.examples("train").counts[:, 2].min() > 0

    def test_unknown_classes_and_paths_that_say_nothing_are_all_named(
        self, store: Store, tmp_path: Path
    ) -> None:
        root = image_folder(tmp_path / "data")
        (root / "Other/image").mkdir(parents=True)
        shutil.copy(root / "Stroma/image/P000-0.png", root / "Other/image/P009-0.png")
        with pytest.raises(DatasetError, match="gathers no 'Other'"):
            from_folder(root, store, "classification")
        with pytest.raises(
            DatasetError, match=r"(?s)13 problems.*`patient: /Q\(.\)` finds nothing"
        ):
            from_folder(root, store, "classification", patient="/Q(.)")

    def test_an_empty_folder_a_lost_one_and_senseless_rules_are_refused(
        self, store: Store, tmp_path: Path
    ) -> None:
        with pytest.raises(DatasetError, match="holds no images"):
            from_folder(tmp_path, store, "classification")
        with pytest.raises(DatasetError, match="no folder of images"):
            from_folder(tmp_path / "lost", store, "classification")
        with pytest.raises(DatasetError, match=r"classes need `source\.label`"):
            from_folder(tmp_path, store, "classification", label=None)

    def test_names_that_repeat_are_told_apart_by_their_folders(
        self, store: Store, tmp_path: Path
    ) -> None:
        root = image_folder(tmp_path / "data")
        shutil.copy(root / "Stroma/image/P000-0.png", root / "Tumour/image/P000-0.png")
        dataset = from_folder(root, store, "classification", patient=None)
        names = [k for s in ("train", "validation", "test") for k in dataset.examples(s).keys]  # type: ignore[arg-type]
        assert "Tumour/image/P000-0" in names
        assert len(set(names)) == 13

    def test_a_split_in_the_paths_is_followed(self, store: Store, tmp_path: Path) -> None:
        for part in ("train", "val"):
            image_folder(tmp_path / "data" / part)
        source: dict[str, Any] = {
            "images": "**/image/*.png",
            "label": "/([^/]+)/image/",
            "split": "^([^/]+)/",
            "patient": None,
        }
        changed = SOURCE.model_copy(update={"root": tmp_path / "data", **source})
        artefact = build_from_images(
            changed,
            labels=LABELS,
            task="classification",
            split=CohortSplit(),
            name="x",
            store=store,
        )
        assert artefact.facts["splits"]["validation"]["examples"] == 12
        assert artefact.facts["splits"]["test"]["examples"] == 0


EBHI = (
    "Normal",
    "Polyp",
    "Low-grade IN",
    "High-grade IN",
    "Adenocarcinoma",
    "Serrated adenoma",
)


@pytest.mark.real
class TestRealImages:
    def test_the_biopsies_of_115_cases_in_five_disjoint_folds(
        self, real_data: Path, tmp_path: Path
    ) -> None:
        labels = LABELS.model_validate(
            {"classes": [{"name": n, "colour": f"#0000{i:02}"} for i, n in enumerate(EBHI)]}
        )
        changes = {"root": real_data / "ebhi-seg", "patient": r"/GT[A-Za-z]*(\d+)-"}
        source, store = SOURCE.model_copy(update=changes), Store(tmp_path)
        tested = list[str]()
        for fold in range(5):
            artefact = build_from_images(
                source,
                labels=labels,
                task="classification",
                split=FoldSplit(fold=fold),
                name="ebhi",
                store=store,
            )
            assert (artefact.facts["examples"], artefact.facts["patients"]) == (269, 115)
            tested += set(open_dataset(artefact.folder).examples("test").patients)
            held = artefact.facts["splits"]["test"]["classes"].values()
            assert min(item["examples"] for item in held) >= 5
        assert len(tested) == len(set(tested)) == 115
        masks = from_folder(changes["root"], store, "segmentation", patient=changes["patient"])
        assert len(list(store.artefacts("images"))) == 1
        example = masks.examples("test")[0]
        assert example.target.shape == example.image.shape[:2] == (224, 224)
        gland = sum(s["classes"]["tumour"]["amount"] for s in masks.facts["splits"].values())
        assert 0.6 < gland / (269 * 224 * 224) < 0.7

    def test_the_tiles_in_five_class_folders(self, real_data: Path, tmp_path: Path) -> None:
        labels = LABELS.model_validate(
            {
                "classes": [
                    {"name": n, "colour": f"#00000{i}"}
                    for i, n in enumerate(["AC", "H", "S", "T", "V"])
                ]
            }
        )
        source = FolderSource(root=real_data / "crc-5class", label="^train/([^/]+)/")
        artefact = build_from_images(
            source,
            labels=labels,
            task="classification",
            split=SPLIT,
            name="crc",
            store=Store(tmp_path),
        )
        assert artefact.facts["examples"] == 850
        classes = artefact.facts["splits"]["test"]["classes"]
        assert {42, 43} >= {item["examples"] for item in classes.values()}
        examples = open_dataset(artefact.folder).examples("test")
        assert examples[0].image.shape == (224, 224, 3)
        assert examples.decode in {"simplejpeg", "pillow"}
