"""TokenLearner in both versions, and TokenFuser."""

from typing import Any

import pytest
import torch

from tests.models.test_vit import tiny
from wsi_vit.errors import ModelError
from wsi_vit.models.sections import TokenLearnerSection
from wsi_vit.models.vit.token_learner import (
    TokenFuser,
    TokenLearnerOriginal,
    TokenLearnerV11,
    new_token_learner,
)
from wsi_vit.models.vit.transformer import Encoder

VERSIONS = ["v1.1", "original"]


def learner(version: Any, tokens: int = 2, after_block: int = 1) -> TokenLearnerSection:
    return TokenLearnerSection(after_block=after_block, tokens=tokens, version=version)


@pytest.mark.parametrize("tokens", [1, 2, 8, 20])
@pytest.mark.parametrize("version", VERSIONS)
def test_any_number_of_tokens_is_learned_from_any_grid(version: str, tokens: int) -> None:
    made = new_token_learner(learner(version, tokens), 32)
    found, maps = made(torch.randn(2, 5 * 3, 32), (5, 3))
    assert found.shape == (2, tokens, 32)
    assert maps.shape == (2, tokens, 15)
    assert maps.min() >= 0


def test_a_token_of_version_11_is_a_mean_of_patches() -> None:
    made = TokenLearnerV11(32, 3)
    patches = torch.randn(2, 16, 32)
    found, maps = made(patches, (4, 4))
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 3))
    torch.testing.assert_close(found[1, 2], (maps[1, 2][:, None] * patches[1]).sum(0))


def test_each_token_of_version_11_has_an_mlp_of_its_own() -> None:
    made, patches = TokenLearnerV11(32, 3), torch.randn(1, 16, 32)
    before = made.maps(patches, (4, 4))
    with torch.no_grad():
        made.hidden.weight[32:64] += 1  # the second group's
    changed = (made.maps(patches, (4, 4)) != before).any(-1)[0]
    assert changed.tolist() == [False, True, False]


def test_a_token_of_the_original_is_a_mean_under_a_sigmoid() -> None:
    made, patches = TokenLearnerOriginal(32, 2), torch.randn(1, 12, 32)
    for convolution in made.convolutions:
        torch.nn.init.zeros_(convolution.weight)  # every sigmoid is a half
    found, maps = made(patches, (3, 4))
    torch.testing.assert_close(maps, torch.full((1, 2, 12), 0.5 / 12))
    torch.testing.assert_close(found[:, 0], 0.5 * patches.mean(1))


def test_the_original_sees_where_a_patch_lies() -> None:
    made, patches = TokenLearnerOriginal(32, 2), torch.randn(1, 12, 32)
    assert not torch.allclose(made.maps(patches, (3, 4)), made.maps(patches, (2, 6)))


@pytest.mark.parametrize("version", VERSIONS)
def test_blocks_after_it_see_special_and_learned_tokens(version: str) -> None:
    encoder = Encoder(tiny(distillation=1, registers=2), token_learner=learner(version, 5, 2))
    seen = encoder.watched(torch.randn(2, 3, 64, 64))
    assert [weights.shape[-1] for weights in seen.attention] == [4 + 16, 4 + 16, 4 + 5]
    assert seen.tokens.shape == (2, 4 + 5, 32)
    assert seen.learned is not None
    assert seen.learned.maps.shape == (2, 5, 16)
    assert seen.learned.patches.shape == (2, 16, 32)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fuser_brings_the_patches_back(version: str) -> None:
    encoder = Encoder(tiny(), token_learner=learner(version))
    fuser = TokenFuser(32, 2)
    found = encoder.dense(torch.randn(2, 3, 64, 96), fuser)
    assert found.shape == (2, 4 * 6, 32)
    (found * torch.randn_like(found)).sum().backward()
    idle = [name for name, p in fuser.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_patches_without_a_learner_are_the_encoders() -> None:
    encoder, pixels = Encoder(tiny(registers=1)).eval(), torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(encoder.dense(pixels), encoder(pixels)[:, 2:])


def test_a_fuser_and_a_learner_belong_together() -> None:
    pixels = torch.randn(1, 3, 64, 64)
    with pytest.raises(ModelError, match="belongs to a TokenLearner"):
        Encoder(tiny()).dense(pixels, TokenFuser(32, 2))
    with pytest.raises(ModelError, match="belongs to a TokenLearner"):
        Encoder(tiny(), token_learner=learner("v1.1")).dense(pixels)
