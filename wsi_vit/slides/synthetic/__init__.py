"""Colorectal slides that never were: pictures for a demo, and a truth known to the pixel edge.

A slide is laid out as compartments on a coarse grid (`layout`), planted with glands and nuclei
(`planting`: `mucosa`, `tumour`), painted band by band as haematoxylin and eosin (`painting`,
`stain`), and written as a pyramid that OpenSlide opens as Aperio's (`aperio`). The compartments
themselves are the truth (`truth`).
"""

from wsi_vit.slides.synthetic.cohort import synthesise_cohort
from wsi_vit.slides.synthetic.settings import CLASSES, SyntheticSection

__all__ = ["CLASSES", "SyntheticSection", "synthesise_cohort"]
