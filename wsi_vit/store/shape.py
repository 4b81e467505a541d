"""What decides a piece of derived data, and so names it."""

from typing import Any, Self

from pydantic import BaseModel, Field

from wsi_vit.section import Section
from wsi_vit.store.canonical import digest_of


class Shape(Section):
    """A stage, its version, the sections and the inputs that decide what it makes.

    Nothing else may influence the result; what does not influence it is not in here, so that
    changing it makes nothing anew.
    """

    stage: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: int = Field(ge=1)
    """Bumped by hand when the stage's code makes something else of the same shape."""
    sections: dict[str, Any] = Field(default_factory=dict)
    """The settings that shape it, as plain JSON."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Digests of what goes in, by role."""

    @classmethod
    def of(
        cls, stage: str, version: int, *, sections: dict[str, Any], inputs: dict[str, str]
    ) -> Self:
        """Make a shape from section objects (or plain JSON values) and input digests."""
        plain = {
            name: item.model_dump(mode="json") if isinstance(item, BaseModel) else item
            for name, item in sections.items()
        }
        return cls(stage=stage, version=version, sections=plain, inputs=inputs)

    @property
    def key(self) -> str:
        """The sha256 of this shape, 64 hexadecimal digits."""
        return digest_of(self)

    @property
    def name(self) -> str:
        """The short key used as a folder name, 16 hexadecimal digits."""
        return self.key[:16]
