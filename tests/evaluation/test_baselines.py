import numpy as np

from tests.evaluation.fakes import Cohort, MemoryExamples, mask_set, relabelled, tile_set
from wsi_vit.evaluation.baselines import (
    TileRules,
    constant_counts,
    histogram,
    learn_pixel_rule,
    learn_tile_rules,
    mean_colour,
)
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import accuracy, iou_per_class

LEARN = {"classes": 3, "most": 500, "seed": 0, "batch_size": 16}


def test_rules_are_learnt_from_the_training_split_and_judged_on_another() -> None:
    dataset = tile_set()
    rules = TileRules(learn_tile_rules(dataset.examples("train"), **LEARN), 3)

    rules(dataset.examples("test").items)

    scores = {
        rule.name: float(accuracy(table))
        for rule, table in zip(rules.rules, rules.counts, strict=True)
    }
    assert scores["mean colour"] > 0.85
    assert scores["colour histogram"] > 0.85
    assert scores["majority class"] < 0.5


def test_one_class_alone_needs_no_regression() -> None:
    tiles = Cohort().tiles(1, 4, prefix="t")

    for rule in learn_tile_rules(tiles, **LEARN):
        assert rule.predict(tiles.items).tolist() == [0, 0, 0, 0]


def test_unlabelled_tiles_teach_nothing() -> None:
    tiles = relabelled(Cohort().tiles(1, 1, prefix="t"), 0, IGNORE_ID)

    assert learn_tile_rules(tiles, **LEARN) == []
    assert learn_tile_rules(MemoryExamples([]), **LEARN) == []


def test_the_pixel_rule_finds_what_differs_in_colour() -> None:
    dataset = mask_set()
    rule = learn_pixel_rule(dataset.examples("train"), **LEARN)
    assert rule is not None

    rule(dataset.examples("test").items)

    assert iou_per_class(rule.counts)[1] > 0.8
    assert learn_pixel_rule(MemoryExamples([]), **LEARN) is None


def test_constants_are_counted_from_the_truth_alone() -> None:
    tables = constant_counts(np.array([[3, 4], [1, 2]]))

    assert tables.tolist() == [[[7, 0], [3, 0]], [[0, 7], [0, 3]]]


def test_a_histogram_is_of_unit_length_and_the_mean_is_the_mean() -> None:
    image = np.full((40, 50, 3), (200, 100, 0), np.uint8)

    assert mean_colour(image).tolist() == [200, 100, 0]
    assert (histogram(image) ** 2).sum() == 1.0
    assert histogram(image).argmax() == (6 * 8 + 3) * 8
