"""Maps of real models: ours, those of transformers, with and without attention."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.explanation.blobs import GRID, LABELS, SIDE_PX, applied, blobs, new_vit, trained_vit
from wsi_vit.errors import ModelError, UsageError
from wsi_vit.explanation.maps import Explained, Explainer
from wsi_vit.explanation.section import ExplanationSection
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import (
    ClassifierSection,
    MaskFormerSection,
    TokenLearnerSection,
    UnetSection,
)
from wsi_vit.models.start import ConfigStart

THEIRS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16}
SMALL_RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 12, 16, 24],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
SMALL_SWIN = {
    "model_type": "swin",
    "embed_dim": 24,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
    "patch_size": 4,
}


def theirs(options: dict[str, Any], *, tuning: str = "full", pool: str = "native") -> Any:
    torch.manual_seed(0)
    section = ClassifierSection.model_validate(
        {"start": ConfigStart(options=options), "input_px": 64, "tuning": tuning, "pool": pool}
    )
    return build_model(section, LABELS, "classification").eval()


def pictures(count: int, side_px: int = SIDE_PX) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return list(rng.integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8))


def explained(model: Any, count: int = 3, **section: Any) -> Explained:
    found = Explainer(applied(model), ExplanationSection.model_validate(section))
    return found.explain(pictures(count))


@pytest.mark.parametrize("method", ["rollout", "gradient", "attention"])
@pytest.mark.parametrize("model_type", ["vit", "dinov2", "dinov2_with_registers", "vit_msn"])
@pytest.mark.parametrize("tuning", ["full", "head"])
def test_vision_transformers_of_transformers_are_explained(
    model_type: str, method: str, tuning: str
) -> None:
    model = theirs({"model_type": model_type} | THEIRS, tuning=tuning)
    before = model.network.config._attn_implementation
    found = explained(model, method=method)

    assert found.maps.shape == (3, 2 if method == "attention" else 1, 4, 4)
    assert (found.maps >= 0).all()
    assert found.maps.sum() > 0
    assert model.network.config._attn_implementation == before


def test_our_transformer_and_theirs_of_the_same_weights_are_explained_alike(
    tmp_path: Any,
) -> None:
    from wsi_vit.models.sections import VitSection
    from wsi_vit.models.start import FolderStart

    model = theirs({"model_type": "vit"} | THEIRS)
    model.save(tmp_path / "saved")
    start = FolderStart(path=tmp_path / "saved")
    ours = build_model(VitSection(start=start, input_px=64), LABELS, "classification").eval()

    for method in ("rollout", "gradient", "attention"):
        one, other = (explained(each, method=method) for each in (model, ours))
        np.testing.assert_allclose(one.maps, other.maps, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_one_picture_is_explained_alike_alone_and_among_others() -> None:
    model = trained_vit()
    for method in ("rollout", "gradient"):
        explainer = Explainer(applied(model), ExplanationSection(method=method))
        images = pictures(4)
        together = explainer.explain(images).maps
        alone = np.concatenate([explainer.explain([image]).maps for image in images])
        np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-6)


def test_maps_point_at_what_decides() -> None:
    images, _, places = blobs(40, seed=3)
    for method in ("rollout", "gradient"):
        explainer = Explainer(applied(), ExplanationSection(method=method))
        found = explainer.explain(list(images.permute(0, 2, 3, 1).numpy())).whole
        best = found.reshape(40, -1).argmax(1)
        assert (np.stack([best // GRID, best % GRID], 1) == places.numpy()).mean() > 0.9, method


@pytest.mark.parametrize("pool", ["cls", "mean", "cls+mean"])
def test_the_scores_are_those_of_the_model_and_rollout_sums_to_at_most_one(pool: str) -> None:
    model = new_vit(pool=pool)
    found = explained(model)
    stacked = torch.from_numpy(np.stack(pictures(3))).permute(0, 3, 1, 2)

    np.testing.assert_allclose(found.scores, model.scores(stacked).numpy(), atol=1e-5)
    assert (found.class_ids == found.scores.argmax(1)).all()
    total = found.maps.sum((1, 2, 3))
    assert (total <= 1 + 1e-5).all()
    assert (total > 0.2).all()


@pytest.mark.parametrize("version", ["v1.1", "original"])
@pytest.mark.parametrize("method", ["rollout", "gradient", "attention", "tokens"])
def test_a_token_learner_is_looked_through(version: str, method: str) -> None:
    learner = TokenLearnerSection.model_validate(
        {"after_block": 1, "tokens": 3, "version": version}
    )
    found = explained(new_vit(token_learner=learner), method=method)

    parts = {"attention": 2, "tokens": 3}.get(method, 1)
    assert found.maps.shape == (3, parts, 6, 6)
    assert found.maps.sum() > 0


def test_a_class_may_be_named_and_only_a_known_one() -> None:
    model = trained_vit()
    red, green = (explained(model, method="gradient", class_name=name) for name in ("red", "green"))

    assert red.class_ids.tolist() == [0, 0, 0]
    assert green.class_ids.tolist() == [1, 1, 1]
    assert not np.allclose(red.maps, green.maps)
    with pytest.raises(UsageError, match=r"does not know this class.*Known: red, green, none"):
        explained(model, class_name="mauve")


@pytest.mark.parametrize(("options", "grid"), [(SMALL_RESNET, (2, 2)), (SMALL_SWIN, (8, 8))])
@pytest.mark.parametrize("tuning", ["full", "head"])
def test_networks_that_pool_maps_are_explained_by_grad_cam(
    options: dict[str, Any], grid: tuple[int, int], tuning: str
) -> None:
    model = theirs(options, tuning=tuning)
    explainer = Explainer(applied(model), ExplanationSection())
    found = explainer.explain(pictures(2, 64))

    assert explainer.method == "gradcam"
    assert explainer.grid == found.maps.shape[2:] == grid
    with pytest.raises(ModelError, match=r"nothing that rollout could show.*Known: gradcam"):
        explained(model, method="rollout")


def test_a_unet_is_explained_for_the_pixels_of_a_class() -> None:
    """By hand on its own maps: the mean gradient of the class's logits where it is predicted."""
    pytest.importorskip("monai")
    torch.manual_seed(0)
    options = {"features": [4, 4, 8, 8, 16, 4]}
    section = UnetSection(start=ConfigStart(options=options), input_px=64)
    model: Any = build_model(section, LABELS, "segmentation").eval()
    image = pictures(1, 64)
    found = Explainer(applied(model), ExplanationSection(class_name="green")).explain(image)

    seen = model.feature_maps(torch.from_numpy(image[0]).permute(2, 0, 1)[None])
    given = seen.logits.argmax(1) == 1
    (gradient,) = torch.autograd.grad(seen.logits[:, 1][given].sum(), seen.last)
    expected = (gradient.mean((2, 3), keepdim=True) * seen.last).sum(1).clamp(min=0)
    assert found.maps.shape == (1, 1, 4, 4)
    np.testing.assert_allclose(found.maps[0], expected.detach().numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.scores.sum(), 1, atol=1e-5)


def test_what_a_model_lacks_is_refused_with_what_it_has() -> None:
    with pytest.raises(ModelError, match=r"Known: rollout, gradient, attention\."):
        explained(new_vit(), method="tokens")
    with pytest.raises(ModelError, match=r"Known: rollout, gradient, attention\."):
        explained(theirs({"model_type": "vit"} | THEIRS), method="gradcam")


def test_a_model_of_masks_is_refused() -> None:
    section = MaskFormerSection(start=ConfigStart(options={}), input_px=64)
    with pytest.raises(ModelError, match="cannot be explained"):
        Explainer(
            applied(build_model(section, LABELS, "segmentation").eval()), ExplanationSection()
        )  # type: ignore[arg-type]


def test_what_does_not_fit_into_memory_at_once_goes_through_in_parts() -> None:
    small = ExplanationSection(batch_size=64, memory_mb=128)

    assert Explainer(applied(new_vit()), small).batch_size == 64
    model = theirs({"model_type": "vit"} | THEIRS | {"patch_size": 2})
    assert Explainer(applied(model), small).batch_size == 3
