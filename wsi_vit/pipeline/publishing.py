"""From a built dataset to a repository on the Hugging Face hub."""

from pathlib import Path

from pydantic import ValidationError

from wsi_vit.datasets.publish import Pseudonyms, export_dataset
from wsi_vit.datasets.publish_card import LICENCES, Listing
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.datasets.upload import Upload, upload_dataset
from wsi_vit.errors import UsageError
from wsi_vit.recipe import Recipe
from wsi_vit.section import faults_in
from wsi_vit.settings import Settings
from wsi_vit.store import Store


def listing_for(recipe: Recipe, repo: str, *, licence: str | None) -> Listing:
    """Return under what name and terms a recipe's dataset would be published.

    Raises:
        UsageError: No licence is stated, two are, or the hub knows no such name or licence.
    """
    stated = recipe.source.licence
    if licence and stated and licence != stated:
        raise UsageError(
            "The recipe states another licence",
            got=licence,
            known=[stated],
            remedy="Leave --licence out, or mend source.licence of the recipe",
        )
    if not (licence or stated):
        raise UsageError(
            f"{recipe.name} states no licence, and what has none may not be passed on",
            known=LICENCES,
            remedy="Find out what the owners allow, and say it with --licence or source.licence",
        )
    try:
        return Listing.model_validate({"repo": repo, "licence": licence or stated})
    except ValidationError as error:
        raise UsageError(
            "This cannot be published", got=faults_in(error), remedy="Name it OWNER/NAME"
        ) from None


def publish(dataset: Path, listing: Listing, *, settings: Settings) -> Upload:
    """Write a dataset in the hub's format below the runs, and upload it where there is a network.

    Raises:
        DatasetError: The dataset is damaged.
        ServiceError: The hub refuses it.
    """
    exported = export_dataset(
        open_dataset(dataset),
        listing=listing,
        pseudonyms=Pseudonyms.kept_in(settings.runs),
        store=Store(settings.store_root),
    )
    return upload_dataset(exported.folder, listing.repo)
