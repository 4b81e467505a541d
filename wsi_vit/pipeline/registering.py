"""From a finished run to a version in the registry, and who is champion."""

from pathlib import Path
from typing import Literal

from wsi_vit.errors import RegistryError
from wsi_vit.pipeline.outcomes import ModelOutcome
from wsi_vit.recipe import load_recipe
from wsi_vit.settings import Settings
from wsi_vit.tracking.registry import Registry
from wsi_vit.tracking.versions import Version

Promotion = Literal["if better", "never"]


def registry_of(settings: Settings) -> Registry:
    """Return the registry in force; fetched models are kept beside the runs."""
    return Registry(settings.tracking_uri, cache=settings.runs / "models")


def register(run: Path, *, promotion: Promotion, settings: Settings) -> ModelOutcome:
    """Bring a run into MLflow as a version; make it champion if it is better and asked to.

    Raises:
        RegistryError: The run was not evaluated, its files do not belong together, or it
            pre-trained.
        ServiceError: MLflow cannot be reached.
    """
    _refuse_pretrained(run)
    registry = registry_of(settings)
    version = registry.register(run)
    if promotion == "never":
        return _outcome(version, "registered", "")
    try:
        decision = registry.promote(version.name, version.version)
    except RegistryError as error:
        # A refusal is in the ledger with its reason; the run itself went well.
        return _outcome(_again(registry, version), "refused", error.what)
    return _outcome(_again(registry, version), decision.outcome, decision.reason)


def promote(name: str, *, settings: Settings) -> ModelOutcome:
    """Make the challenger champion if it is better on the same frozen test split.

    Raises:
        RegistryError: It can never be champion, or cannot be compared.
        ServiceError: MLflow cannot be reached.
    """
    registry = registry_of(settings)
    decision = registry.promote(name)
    return _outcome(_version(registry, name, decision.version), decision.outcome, decision.reason)


def rollback(name: str, *, settings: Settings) -> ModelOutcome:
    """Make the previous champion champion again.

    Raises:
        RegistryError: There is none.
        ServiceError: MLflow cannot be reached.
    """
    registry = registry_of(settings)
    decision = registry.rollback(name)
    champion = decision.champion_after or decision.version
    return _outcome(_version(registry, name, champion), decision.outcome, decision.reason)


def models(*, settings: Settings) -> list[ModelOutcome]:
    """Return every version of every registered model, the newest first."""
    return [
        _outcome(version, version.decision or "registered", "")
        for model in registry_of(settings).models()
        for version in model.versions
    ]


def _refuse_pretrained(run: Path) -> None:
    recipe = run / "recipe.yaml"
    if recipe.is_file() and load_recipe(recipe).task == "pretraining":
        raise RegistryError(
            "This run pre-trained: no test split can say whether its model is better",
            got=run,
            remedy=f"Begin from {run / 'model'} in another recipe, and register what comes of it",
        )


def _again(registry: Registry, version: Version) -> Version:
    return _version(registry, version.name, version.version)


def _version(registry: Registry, name: str, number: int) -> Version:
    return next(item for item in registry.versions(name) if item.version == number)


def _outcome(version: Version, decision: str, reason: str) -> ModelOutcome:
    return ModelOutcome(
        name=version.name,
        version=version.version,
        aliases=version.aliases,
        headline=f"{version.headline.name} {_score(version)}",
        estimate=version.estimate,
        decision=decision,
        reason=reason,
    )


def _score(version: Version) -> str:
    score = version.headline
    if score.value is None:
        return "undefined"
    bounds = "" if score.low is None else f" ({score.low:.3f} to {score.high:.3f})"
    return f"{score.value:.3f}{bounds}"
