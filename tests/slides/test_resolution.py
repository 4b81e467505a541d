import math

import pytest
from pydantic import ValidationError

from wsi_vit.errors import Reason, SlideError
from wsi_vit.slides.readers.ome import ome_mpp
from wsi_vit.slides.resolution import (
    Resolution,
    ResolutionSection,
    ResolutionSource,
    StatedMpp,
    resolve_mpp,
)


def resolved(
    *stated: tuple[float, float, ResolutionSource], override: float | None = None, **section: object
) -> Resolution:
    claims = [StatedMpp(*item) for item in stated]
    rules = ResolutionSection.model_validate(section)
    return resolve_mpp(claims, override=override, section=rules, slide="a.svs")


def test_the_cohorts_word_wins_and_the_files_is_kept_beside_it() -> None:
    found = resolved((0.5, 0.5, "vendor"), override=0.325)

    assert (found.mpp, found.source, found.stated) == (
        pytest.approx(0.325), "override", StatedMpp(0.5, 0.5, "vendor"),
    )  # fmt: skip


def test_an_odd_resolution_is_never_moved_to_a_round_one() -> None:
    assert resolved((0.2738, 0.2738, "vendor")).mpp == pytest.approx(0.2738)


def test_an_absurd_source_gives_way_to_the_next() -> None:
    found = resolved((352.8, 352.8, "tiff"), (0.5, 0.5, "ome"))

    assert found.source == "ome"


@pytest.mark.parametrize(
    ("stated", "override", "reason"),
    [
        pytest.param([], None, Reason.NO_MPP, id="nothing said"),
        pytest.param([(352.8, 352.8, "tiff")], None, Reason.ABSURD_MPP, id="72 dpi"),
        pytest.param([(0.5, 0.51, "tiff")], None, Reason.ANISOTROPIC_MPP, id="2 % oblong"),
        pytest.param([(math.nan, 1, "tiff")], None, Reason.ABSURD_MPP, id="no number"),
        pytest.param([(0.5, 0.5, "vendor")], 40.0, Reason.ABSURD_MPP, id="override is a power"),
    ],
)
def test_what_cannot_be_believed_is_refused_with_a_remedy(
    stated: list[tuple[float, float, ResolutionSource]], override: float | None, reason: Reason
) -> None:
    with pytest.raises(SlideError, match=r"mpp column of the cohort") as caught:
        resolved(*stated, override=override)

    assert caught.value.reason is reason


def test_one_percent_between_x_and_y_is_still_square() -> None:
    assert resolved((0.5, 0.5049, "tiff")).mpp == pytest.approx(math.sqrt(0.5 * 0.5049))


def test_an_assumed_resolution_is_recorded_as_such() -> None:
    found = resolved(missing={"assume": 0.25})

    assert (found.mpp, found.source) == (0.25, "assumed")


def test_a_warning_goes_on_without_a_value(caplog: pytest.LogCaptureFixture) -> None:
    found = resolved(missing="warn")

    assert not found.is_known
    assert "no_mpp" in caplog.text


def test_an_unknown_word_for_missing_is_refused() -> None:
    with pytest.raises(ValidationError):
        ResolutionSection.model_validate({"missing": "guess"})


def test_ome_sizes_are_read_in_their_unit() -> None:
    text = '<OME xmlns="x"><Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm" {}/></OME>'

    assert ome_mpp(text.format('PhysicalSizeY="0.25"')) == StatedMpp(0.25, 0.25, "ome")
    assert ome_mpp(text.format("")) is None


def test_an_entity_bomb_in_ome_xml_says_nothing() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><OME>&b;</OME>'

    assert ome_mpp(bomb) is None
