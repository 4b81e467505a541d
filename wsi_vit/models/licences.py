"""What the makers of published weights allow: those that recipes and documentation name.

Looked up in November 2026, on the hub and in the authors' repositories. `docs/concepts/weights.md`
shows the table and says where each was read.
"""

from typing import Literal

from wsi_vit.section import Section


class Licence(Section):
    """The terms of some weights."""

    name: str
    """In words."""
    id: str
    """As the hub has it; `other` where it has none, and then `link` leads to the text."""
    use: Literal["any", "non-commercial"]
    """For what the weights, and all that is learnt from them, may be used."""
    link: str


APACHE_2 = Licence(
    name="Apache License 2.0",
    id="apache-2.0",
    use="any",
    link="https://www.apache.org/licenses/LICENSE-2.0",
)
CC_BY_NC_4 = Licence(
    name="CC BY-NC 4.0",
    id="cc-by-nc-4.0",
    use="non-commercial",
    link="https://creativecommons.org/licenses/by-nc/4.0/",
)
NVIDIA_SEGFORMER = Licence(
    name="NVIDIA Source Code License for SegFormer",
    id="other",
    use="non-commercial",
    link="https://github.com/NVlabs/SegFormer/blob/master/LICENSE",
)

LICENCES = {
    "google/vit-base-patch16-224-in21k": APACHE_2,
    "facebook/dinov2-small": APACHE_2,
    "facebook/maskformer-swin-base-ade": CC_BY_NC_4,
    **{f"nvidia/mit-b{size}": NVIDIA_SEGFORMER for size in range(6)},
}
"""By the hub's id. The hub says `other` of MaskFormer, its authors' repository what stands here."""


def licence_of(hub_id: str) -> Licence | None:
    """Return the terms of weights on the hub; None of those that nobody has looked up."""
    return LICENCES.get(hub_id)
