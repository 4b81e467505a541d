"""The settings of an anomaly score."""

from typing import Literal

from pydantic import Field

from wsi_vit.section import Section


class AnomalySection(Section):
    """Which distance to the training examples tells that a picture is unlike them."""

    score: Literal["mahalanobis", "knn"] = "mahalanobis"
    """`mahalanobis`: to the nearest class's mean, under one covariance of all classes (Lee et al.
    2018). `knn`: to the k-th nearest example, at unit length (Sun et al. 2022)."""
    neighbours: int = Field(default=10, ge=1)
    """The k of `knn`."""
    examples: int = Field(default=5000, ge=20)
    """At most this many training examples, drawn at random, are compared with."""
