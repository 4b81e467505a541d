"""Grad-CAM and similarity of positions, by hand."""

import torch

from wsi_vit.explanation.features import grad_cam, position_similarity
from wsi_vit.models.vit.transformer import sincos_positions


def test_grad_cam_weighs_maps_by_their_mean_gradient() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [0.0, 4.0]], [[3.0, 0.0], [0.0, 1.0]]]])
    gradients = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])

    # 0.5 * first - 1 * second, and nothing below 0
    assert grad_cam(maps, gradients).tolist() == [[[0.0, 1.0], [0.0, 1.0]]]


def test_positions_are_alike_where_they_are_near() -> None:
    alike = position_similarity(sincos_positions(7, 7, 64))
    middle = alike[3 * 7 + 3].view(7, 7)

    torch.testing.assert_close(alike.diagonal(), torch.ones(49, dtype=alike.dtype))
    assert middle[3, 4] > middle[3, 5] > middle[3, 6]
    assert middle[4, 3] > middle[6, 6]
