"""The parts of a masked autoencoder, against what can be worked out by hand."""

import pytest
import torch

from wsi_vit.models.pretraining.autoencoder import (
    Decoder,
    MaskedEncoder,
    draw_hidden,
    hidden_error,
    image_of,
    normalised,
    patches_of,
    visible_of,
)
from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.transformer import Encoder

MADE = Architecture(image_px=32, patch_px=8, width=24, depth=2, heads=2)


def test_patches_put_together_are_the_image_and_lie_row_by_row() -> None:
    pixels = torch.rand(2, 3, 32, 32)

    patches = patches_of(pixels, 8)

    assert patches.shape == (2, 16, 192)
    assert torch.equal(image_of(patches, 8, 4), pixels)
    second = pixels[:, :, :8, 8:16].permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(patches[:, 1], second)


@pytest.mark.parametrize(
    ("patches", "share", "visible"), [(196, 0.75, 49), (16, 0.75, 4), (4, 0.99, 1), (4, 0.01, 3)]
)
def test_a_share_of_the_patches_is_hidden_never_all_and_never_none(
    patches: int, share: float, visible: int
) -> None:
    hidden = draw_hidden(torch.rand(3, patches), share)

    assert visible_of(patches, share) == visible
    assert hidden.visible.shape == (3, visible)
    assert hidden.mask.sum(1).tolist() == [patches - visible] * 3
    assert not hidden.mask.gather(1, hidden.visible).any()


def test_every_patch_is_hidden_as_often_as_any_other() -> None:
    torch.manual_seed(0)

    share = draw_hidden(torch.rand(4000, 16), 0.75).mask.float().mean(0)

    assert share.sub(0.75).abs().max() < 0.03


def test_a_target_has_mean_0_and_variance_1_and_one_colour_is_0() -> None:
    patches = torch.rand(1, 3, 192) * 9 + 5
    patches[0, 2] = 0.4

    found = normalised(patches)

    assert found.values.mean(-1).abs().max() < 1e-4
    assert torch.allclose(found.values[0, :2].var(-1), torch.ones(2), atol=1e-5)
    assert found.values[0, 2].abs().max() < 1e-3
    assert torch.allclose(found.values * found.deviation + found.mean, patches, atol=1e-5)


def test_only_hidden_patches_count_in_the_error() -> None:
    wanted, predicted = torch.zeros(1, 4, 6), torch.zeros(1, 4, 6)
    predicted[0, 0], predicted[0, 1], predicted[0, 2] = 100, 2, 4
    mask = torch.tensor([[False, True, True, False]])

    assert hidden_error(predicted, wanted, mask).tolist() == [(4 + 16) / 2]


def test_the_encoder_sees_visible_patches_alone() -> None:
    torch.manual_seed(0)
    network = MaskedEncoder(Encoder(MADE)).eval()
    pixels, visible = torch.rand(1, 3, 32, 32), torch.tensor([[5, 0, 10]])
    changed = pixels.clone()
    changed[:, :, :8, 8:16] = 1 - changed[:, :, :8, 8:16]  # patch 1, which is hidden

    tokens = network(pixels, visible)

    assert tokens.shape == (1, 1 + 3, 24)
    assert torch.equal(tokens, network(changed, visible))


def test_the_encoder_on_all_patches_is_the_vit() -> None:
    torch.manual_seed(0)
    encoder = Encoder(MADE).eval()
    pixels = torch.rand(2, 3, 32, 32)

    tokens = MaskedEncoder(encoder)(pixels, torch.arange(16).expand(2, -1))

    assert torch.allclose(tokens, encoder(pixels), atol=1e-6)


def test_the_decoder_puts_what_was_seen_where_it_lies_whatever_its_order() -> None:
    torch.manual_seed(0)
    decoder = Decoder(MADE, width=16, depth=1, heads=2).eval()
    encoded, places = torch.rand(1, 4, 24), torch.tensor([[3, 9, 14]])
    turned = [2, 0, 1]

    drawn = decoder(encoded, places)
    again = decoder(
        torch.cat([encoded[:, :1], encoded[:, 1:][:, turned]], dim=1), places[:, turned]
    )

    assert drawn.shape == (1, 16, 192)
    assert torch.allclose(drawn, again, atol=1e-6)
    assert not torch.allclose(drawn, decoder(encoded, places - 1), atol=1e-3)
