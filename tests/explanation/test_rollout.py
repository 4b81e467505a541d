"""Rollout by hand, and on attention of any shape."""

import pytest
import torch
from torch import Tensor

from wsi_vit.explanation.rollout import (
    followed,
    fused,
    gradient_matrices,
    looked_at,
    rollout_matrices,
    with_learned,
    without_smallest,
)
from wsi_vit.models.attended import LearnedTokens


def attention(*shape: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(*shape).softmax(-1)


def test_two_layers_are_as_worked_by_hand() -> None:
    """Two tokens, one head: 0.5 A + 0.5 I of each, then the second times the first."""
    first = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    second = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    # 0.5 A1 + 0.5 I = [[0.75, 0.25], [0.125, 0.875]]; 0.5 A2 + 0.5 I = [[0.5, 0.5], [0.25, 0.75]]
    # [0.5 * 0.75 + 0.5 * 0.125, 0.5 * 0.25 + 0.5 * 0.875] = [0.4375, 0.5625]
    # [0.25 * 0.75 + 0.75 * 0.125, 0.25 * 0.25 + 0.75 * 0.875] = [0.28125, 0.71875]
    matrices = rollout_matrices([first[None, None], second[None, None]])
    found = followed(matrices, torch.eye(2))

    assert found.tolist() == [[[0.4375, 0.5625], [0.28125, 0.71875]]]
    assert followed(matrices, looked_at("cls", special=1, tokens=2)).tolist() == [
        [[0.4375, 0.5625]]
    ]


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.3, 0.95])
def test_rows_of_rollout_sum_to_one(fusion: str, discard: float) -> None:
    layers = [attention(3, 4, 26, 26, seed=n) for n in range(12)]
    matrices = rollout_matrices(layers, fusion=fusion, discard=discard)  # type: ignore[arg-type]
    found = followed(matrices, torch.eye(26))

    assert found.shape == (3, 26, 26)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 26), atol=1e-5, rtol=0)


def test_heads_become_one_by_mean_largest_or_smallest() -> None:
    heads = torch.tensor([[[[0.2, 0.8]], [[0.6, 0.4]]]])

    assert fused(heads, "mean").tolist()[0][0] == pytest.approx([0.4, 0.6])
    assert fused(heads, "max").tolist()[0][0] == pytest.approx([0.6, 0.8])
    assert fused(heads, "min").tolist()[0][0] == pytest.approx([0.2, 0.4])


def test_the_smallest_weights_of_each_image_are_discarded() -> None:
    weights = torch.tensor([[[0.1, 0.9], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]])

    assert without_smallest(weights, 0.5).tolist() == [
        [[0, pytest.approx(0.9)], [pytest.approx(0.6), 0]],
        [[pytest.approx(0.7), 0], [0, pytest.approx(0.8)]],
    ]
    assert without_smallest(weights, 0.2) is weights


def test_one_row_is_a_row_of_the_whole() -> None:
    matrices = rollout_matrices([attention(2, 3, 10, 10, seed=n) for n in range(4)])
    whole = followed(matrices, torch.eye(10))

    for pool, expected in (
        ("cls", whole[:, :1]),
        ("mean", whole[:, 2:].mean(1, keepdim=True)),
        ("cls+mean", (whole[:, :1] + whole[:, 2:].mean(1, keepdim=True)) / 2),
    ):
        start = looked_at(pool, special=2, tokens=10)  # type: ignore[arg-type]
        torch.testing.assert_close(followed(matrices, start), expected)


def test_gradient_rollout_keeps_what_speaks_for_the_class() -> None:
    """One block, one head, by hand: R = I + max(0, dy/dA * A)."""
    one = torch.tensor([[[[0.25, 0.75], [0.5, 0.5]]]])
    gradient = torch.tensor([[[[2.0, -1.0], [4.0, 0.0]]]])
    (found,) = gradient_matrices([one], [gradient])

    assert found.tolist() == [[[1.5, 0.0], [2.0, 1.0]]]


def test_learned_tokens_are_traced_to_the_patches_they_came_from() -> None:
    """A class token, four patches, two learned tokens; the last block sees three tokens."""
    maps = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0]]])
    early, late = torch.eye(5)[None], torch.tensor([[[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]]])
    matrices = with_learned([early, late], LearnedTokens(maps, after_block=1), special=1)
    found = followed(matrices, torch.eye(3))

    assert [matrix.shape[1:] for matrix in matrices] == [(5, 5), (3, 5), (3, 3)]
    assert found[0, 0].tolist() == [0.5, 0.25, 0, 0.125, 0.125]
    assert (found.sum(-1) == 1).all()
