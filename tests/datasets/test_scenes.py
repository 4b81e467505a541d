"""Scenes and frames: SceneParse150 and CamVid by name, made and real."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsi_vit.datasets.build import build_from_images
from wsi_vit.datasets.camvid import CamVidSource
from wsi_vit.datasets.images import ImageSource
from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.datasets.scene_parse import SceneParseSource
from wsi_vit.datasets.splits import CohortSplit, PatientSplit, SiteSplit
from wsi_vit.errors import DatasetError, LabelError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.store import Store

LISTED = """Idx\tRatio\tTrain\tVal\tStuff\tName
1\t0.1576\t11664\t1172\t1\twall
4\t0.0621\t9336\t917\t1\tfloor, flooring
6\t0.0450\t6604\t643\t1\tceiling
9\t0.0198\t4688\t460\t0\twindowpane, window\u0020
59\t0.0020\t1\t1\t0\tscreen door, screen
131\t0.0005\t1\t1\t0\tscreen, silver screen
"""
KEPT = ("wall", "floor", "window", "ceiling")
ANYWHERE = {"unknown": "background", "background_only": "drop"}


def label_map(*names: str) -> LabelMap:
    classes = [{"name": "background", "colour": "#000000"}]
    classes += [{"name": name, "colour": f"#0000{place:02x}"} for place, name in enumerate(names)]
    return LabelMap.model_validate({"background": "background", "classes": classes})


def put_pair(root: Path, part: str, name: str, ids: np.ndarray) -> None:
    """Write an image of noise and a mask as ADEChallengeData2016 lays them out."""
    for kind in ("images", "annotations"):
        (root / kind / part).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(name) + int(ids.sum())).integers(0, 255, (*ids.shape, 3))
    Image.fromarray(noise.astype(np.uint8)).save(root / f"images/{part}/{name}.jpg")
    Image.fromarray(ids.astype(np.uint8)).save(root / f"annotations/{part}/{name}.png")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Eight scenes: wall, floor, ceiling and window in quarters, and six of sky alone."""
    root = tmp_path / "ADEChallengeData2016"
    quarters = np.kron([[1, 4], [6, 9]], np.ones((8, 12)))
    for number in range(8):
        put_pair(root, "training", f"ADE_train_{number:08}", np.roll(quarters, number, axis=1))
    put_pair(root, "validation", "ADE_val_00000001", quarters)
    put_pair(root, "training", "ADE_train_00000100", np.zeros((16, 24)))
    (root / "objectInfo150.txt").write_text(LISTED)
    return root


def built(source: ImageSource, labels: LabelMap, store: Store, split: Any = None) -> TrainingSet:
    artefact = build_from_images(
        source,
        labels=labels,
        task="segmentation",
        split=split or PatientSplit(),
        name="scenes",
        store=store,
    )
    return open_dataset(artefact.folder)


def test_the_reduction_rule_keeps_four_names_and_makes_the_rest_background(
    scenes: Path, store: Store
) -> None:
    """Wall 1, floor 4, window 9, ceiling 6 become 1 to 4, all else 0."""
    source = SceneParseSource(root=scenes, **ANYWHERE)
    dataset = built(source, label_map(*KEPT), store)
    assert dataset.facts["source"]["gathered"] == {
        "background": ["background"],
        "wall": [1],
        "floor": [4],
        "window": [9],
        "ceiling": [6],
    }
    example = dataset.examples("train")[0]
    original = Image.open(scenes / f"annotations/training/{example.key}.png")
    table = np.zeros(151, np.uint8)
    table[[1, 4, 9, 6]] = [1, 2, 3, 4]
    assert np.array_equal(example.target, table[np.asarray(original)])


def test_images_of_background_only_are_dropped_counted_and_named(
    scenes: Path, store: Store
) -> None:
    dataset = built(SceneParseSource(root=scenes, **ANYWHERE), label_map(*KEPT), store)
    assert dataset.facts["examples"] == 9
    assert dataset.facts["source"]["dropped"] == {
        "background only": {"images": 1, "first": ["images/training/ADE_train_00000100.jpg"]}
    }
    assert dataset.facts["source"]["elsewhere"] == {"0": {"name": "other", "pixels": 384}}


def test_every_synonym_resolves_and_a_first_name_wins_over_a_further_one(scenes: Path) -> None:
    names = SceneParseSource(root=scenes).names()
    assert names["windowpane"] == names["window"] == 9
    assert (names["screen"], names["screen door"], names["other"]) == (131, 59, 0)


def test_a_missing_name_lists_the_near_ones_and_an_id_beyond_the_list_is_told_with_it(
    scenes: Path, store: Store
) -> None:
    labels = label_map("windowpain", "wall")
    beyond = labels.classes[2].model_copy(update={"source": (777,)})
    labels = LabelMap(classes=(*labels.classes[:2], beyond), background="background")
    with pytest.raises(LabelError, match=r"(?s)2 sources.*'windowpain', but windowpane.*no id 777"):
        built(SceneParseSource(root=scenes, **ANYWHERE), labels, store)


def test_two_names_of_one_thing_in_two_classes_are_refused(scenes: Path, store: Store) -> None:
    with pytest.raises(LabelError, match=r"id 9 is gathered twice: windowpane .* window by"):
        built(SceneParseSource(root=scenes, **ANYWHERE), label_map("windowpane", "window"), store)


def test_bad_pairs_are_all_told_at_once_and_nothing_is_stored(scenes: Path, store: Store) -> None:
    images, masks = scenes / "images/training", scenes / "annotations/training"
    (masks / "ADE_train_00000000.png").unlink()
    (images / "ADE_train_00000001.jpg").unlink()
    Image.fromarray(np.ones((16, 12), np.uint8)).save(masks / "ADE_train_00000002.png")
    Image.new("RGB", (24, 16), (200, 0, 0)).save(masks / "ADE_train_00000003.png")
    Image.fromarray(np.full((16, 24), 200, np.uint8)).save(masks / "ADE_train_00000004.png")
    path = images / "ADE_train_00000005.jpg"
    path.write_bytes(path.read_bytes()[:400])
    Image.fromarray(np.ones((24, 16), np.uint8)).save(masks / "ADE_train_00000006.png")
    with pytest.raises(DatasetError) as caught:
        built(SceneParseSource(root=scenes, **ANYWHERE), label_map(*KEPT), store)
    for expected in (
        "7 problems",
        "00000000.jpg: its mask is not there (annotations/training/ADE_train_00000000.png)",
        "00000001.png: is a mask without an image (images/training/ADE_train_00000001.*)",
        "00000002.jpg: its mask is (16, 12), not (16, 24) (height, width)",
        "00000003.jpg: its mask is coloured",
        "00000004.jpg: mask values beyond the source's name list: 200",
        "00000005.jpg: cannot be decoded",
        "00000006.jpg: its mask is (24, 16), not (16, 24) (height, width); a camera's rotation",
        "nothing was stored",
    ):
        assert expected in str(caught.value)
    assert list(store.artefacts()) == []


def test_the_validation_folder_judges_where_the_split_asks_for_that_site(
    scenes: Path, store: Store
) -> None:
    split = SiteSplit(test=("validation",), validation=0.25, seed=0)
    dataset = built(SceneParseSource(root=scenes, **ANYWHERE), label_map(*KEPT), store, split)
    assert dataset.examples("test").keys == ("ADE_val_00000001",)
    given = built(
        SceneParseSource(root=scenes, **ANYWHERE), label_map("wall"), store, CohortSplit()
    )
    assert given.examples("validation").keys == ("ADE_val_00000001",)


@pytest.mark.parametrize("kind", [SceneParseSource, CamVidSource])
def test_an_empty_root_and_a_lost_one_are_refused(kind: type[ImageSource], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no folder of images"):
        kind(root=tmp_path / "lost").find()
    with pytest.raises(DatasetError, match=r"lacks images, annotations|holds no images"):
        kind(root=tmp_path).find()
    assert kind().unfit("classification")


def test_a_list_of_names_that_is_lost_or_another_is_refused(scenes: Path) -> None:
    path = scenes / "objectInfo150.txt"
    path.write_text("wall\nfloor\n")
    with pytest.raises(DatasetError, match="no list of names as ADEChallengeData2016"):
        SceneParseSource(root=scenes).names()
    path.unlink()
    with pytest.raises(DatasetError, match="list of names is not there"):
        SceneParseSource(root=scenes).names()


def put_frame(root: Path, folder: str, name: str, fill: int = 8) -> None:
    for below in (folder, f"{folder}annot"):
        (root / below).mkdir(parents=True, exist_ok=True)
    Image.effect_noise((12, 8), 60).convert("RGB").save(root / folder / f"{name}.png")
    ids = np.full((8, 12), fill, np.uint8)
    ids[0], ids[1] = 0, 11
    Image.fromarray(ids).save(root / f"{folder}annot" / f"{name}.png")


def test_frames_of_a_sequence_go_in_runs_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (5, 40, 300, 7, 11, 100, 2000):
        put_frame(tmp_path, "train", f"Seq05VD_f{number}")
    put_frame(tmp_path, "val", "Seq05VD_f00006")
    images = CamVidSource(root=tmp_path).find()
    runs = [image.patient for image in images]
    assert runs == [*["Seq05VD-train-000"] * 5, *["Seq05VD-train-001"] * 2, "Seq05VD-val-000"]
    assert [int(image.slide_id[9:]) for image in images[:-1]] == [5, 7, 11, 40, 100, 300, 2000]
    assert {image.site for image in images} == {"Seq05VD"}
    assert [image.given for image in images] == [*["train"] * 7, "validation"]
    shorter = CamVidSource(root=tmp_path, run_frames=2).find()
    assert [image.patient[-3:] for image in shorter[:4]] == ["000", "000", "001", "001"]


def test_what_is_ignored_counts_nowhere_while_the_rest_is_background(
    tmp_path: Path, store: Store
) -> None:
    for number in range(20):
        put_frame(tmp_path, "train", f"0016E5_{number:05}")
    source = CamVidSource(root=tmp_path, unknown="background", ignored=("Unlabelled",))
    target = built(source, label_map("car"), store).examples("train")[0].target
    assert [int(row[0]) for row in target[:3]] == [0, IGNORE_ID, 1]
    with pytest.raises(LabelError, match=r"does not have.*Got: fog, car"):
        built(source.model_copy(update={"ignored": ("fog", "car")}), label_map("car"), store)


def test_a_frame_without_a_number_and_one_in_two_folders_are_refused(
    tmp_path: Path, store: Store
) -> None:
    for folder in ("train", "val"):
        put_frame(tmp_path, folder, "0016E5_00480")
    with pytest.raises(DatasetError, match=r"train/0016E5_00480.png, val/.*two images of one name"):
        built(CamVidSource(root=tmp_path, unknown="background"), label_map("car"), store)
    put_frame(tmp_path, "train", "frame")
    with pytest.raises(DatasetError, match=r"train/frame.png: no `sequence_frame`"):
        CamVidSource(root=tmp_path).find()


@pytest.mark.real
class TestRealScenes:
    def test_the_ten_pairs_go_by_names_and_the_list_names_all_150(
        self, real_data: Path, store: Store
    ) -> None:
        source = SceneParseSource(root=real_data / "ade20k", **ANYWHERE)
        assert set(source.names().values()) == set(range(151))
        names = ("windowpane", "person", "door", "table", "painting")
        dataset = built(source, label_map(*names), store)
        found = dataset.facts["source"]
        assert [found["gathered"][name] for name in names] == [[9], [13], [15], [16], [23]]
        assert (found["found"], dataset.facts["examples"]) == (10, 4)
        assert found["dropped"]["background only"]["images"] == 6
        assert found["elsewhere"]["1"]["name"] == "wall"

    def test_the_reduction_rule_over_the_pairs(self, real_data: Path, store: Store) -> None:
        source = SceneParseSource(root=real_data / "ade20k", unknown="background")
        dataset = built(source, label_map(*KEPT), store)
        table = np.zeros(151, np.uint8)
        table[[1, 4, 9, 6]] = [1, 2, 3, 4]
        seen = 0
        for split in ("train", "validation", "test"):
            for example in dataset.examples(split):  # type: ignore[arg-type]
                (path,) = (real_data / "ade20k/annotations").glob(f"*/{example.key}.png")
                assert np.array_equal(example.target, table[np.asarray(Image.open(path))])
                seen += 1
        assert seen == 10

    def test_the_table_and_the_text_of_the_list_agree_on_first_names(
        self, real_data: Path, tmp_path: Path
    ) -> None:
        text = SceneParseSource(root=real_data / "ade20k").names()
        content = (real_data / "ade20k/objectInfo150.csv").read_text()
        (tmp_path / "objectInfo150.csv").write_text(content)
        table = SceneParseSource(root=tmp_path).names()
        for name in ("wall", "windowpane", "window", "person", "door", "sofa", "painting"):
            assert table[name] == text[name]

    def test_eighty_frames_of_two_sequences_in_seventeen_runs(
        self, real_data: Path, store: Store
    ) -> None:
        source = CamVidSource(
            root=real_data / "camvid", unknown="background", ignored=("unlabelled",)
        )
        labels = label_map("pedestrian", "car", "bicyclist", "sign")
        split = SiteSplit(test=("0016E5",), validation=0.2, seed=0)
        dataset = built(source, labels, store, split)
        assert (dataset.facts["examples"], dataset.facts["patients"]) == (80, 17)
        assert dataset.facts["splits"]["test"]["examples"] == 57
        assert set(dataset.examples("train").sites) == {"0006R0"}
        amounts = [s["classes"] for s in dataset.facts["splits"].values()]
        total = {name: sum(a[name]["amount"] for a in amounts) for name in amounts[0]}
        assert total["pedestrian"] == 58611 + 21365
        assert total["sign"] == 179205 + 29691
        own = built(source, labels, store, CohortSplit())
        assert own.facts["splits"]["validation"]["examples"] == 20
