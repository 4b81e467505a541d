"""A result is read from its artefact as it was written."""

from pathlib import Path
from typing import Any

from wsi_vit.section import Section
from wsi_vit.store import Recorded, Shape, Store, write_record


class Weighed(Section):
    """A record of a made-up stage."""

    grams: float
    name: str


class Weighing(Recorded[Weighed]):
    """A result that says more of its record."""

    @property
    def kilograms(self) -> float:
        return self.record.grams / 1000


def test_a_result_knows_its_record_its_folder_and_whether_it_was_there(tmp_path: Path) -> None:
    record = Weighed(grams=2500, name="Präparat")

    def make(folder: Path) -> dict[str, Any]:
        write_record(folder / "weighed.json", record)
        return {}

    shape = Shape.of("weighing", 1, sections={}, inputs={})
    first, again = (
        Weighing.read(Store(tmp_path).ensure(shape, make), "weighed.json", Weighed)
        for _ in range(2)
    )

    assert first.record == again.record == record
    assert (first.reused, again.reused) == (False, True)
    assert first.folder == again.folder == tmp_path / "weighing" / shape.name
    assert first.kilograms == 2.5
    assert "Präparat" in (first.folder / "weighed.json").read_text(encoding="utf-8")
