import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wsi_vit.errors import StoreError
from wsi_vit.section import Section
from wsi_vit.store import Artefact, DigestCache, Shape, Store, canonical_json, read_manifest
from wsi_vit.store.verify import verify_folder


class Blade(Section):
    width_px: int = 3


def shape(width_px: int = 3, version: int = 1) -> Shape:
    return Shape.of(
        "cut", version, sections={"blade": Blade(width_px=width_px)}, inputs={"log": "ab"}
    )


def write_hello(folder: Path) -> dict[str, object]:
    (folder / "part").mkdir()
    (folder / "part" / "hello.txt").write_text("hello")
    return {"pieces": 1}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def made(store: Store) -> Artefact:
    return store.ensure(shape(), write_hello)


def test_a_second_request_makes_nothing(store: Store, made: Artefact) -> None:
    def never(folder: Path) -> dict[str, object]:
        raise AssertionError(f"made again in {folder}")

    again = store.ensure(shape(), never)

    assert again.reused
    assert not made.reused
    assert again.digest == made.digest
    assert again.facts == {"pieces": 1}


def test_whatever_shapes_a_thing_changes_its_name() -> None:
    names = {
        shape().name,
        shape(width_px=4).name,
        shape(version=2).name,
        Shape.of("cut", 1, sections={"blade": Blade()}, inputs={"log": "cd"}).name,
    }

    assert len(names) == 4


def test_the_name_of_a_shape_stays_what_it_was() -> None:
    """A golden digest: whoever changes how shapes are spelt must bump every stage's version."""
    assert shape().name == "30a82b7484cda19a"


def test_two_stores_make_the_same_bytes(tmp_path: Path) -> None:
    one = Store(tmp_path / "one").ensure(shape(), write_hello)
    two = Store(tmp_path / "two").ensure(shape(), write_hello)

    first, second = ((part.folder / "manifest.json").read_bytes() for part in (one, two))
    assert first == second


def test_a_maker_that_fails_leaves_nothing(store: Store) -> None:
    def fail(folder: Path) -> dict[str, object]:
        (folder / "half.txt").write_text("ha")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.ensure(shape(), fail)

    assert store.find(shape()) is None
    assert not list((store.root / ".scratch").iterdir())


def test_a_full_disk_is_named_with_its_path(store: Store) -> None:
    def fill(folder: Path) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"No space left.*cut.*GB free.*run it again"):
        store.ensure(shape(), fill)


def test_a_killed_maker_is_swept_by_the_next(store: Store) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from tests.store.test_store import shape
        from wsi_vit.store import Store

        def stall(folder):
            (folder / "half.txt").write_text("ha")
            print("writing", flush=True)
            time.sleep(60)

        Store(Path(sys.argv[1])).ensure(shape(), stall)
        """
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout
    with process.stdout:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert list((store.root / ".scratch").iterdir())
    assert store.ensure(shape(), write_hello).facts == {"pieces": 1}
    assert not list((store.root / ".scratch").iterdir())


def test_verify_finds_a_changed_bit(store: Store, made: Artefact) -> None:
    path = made.folder / "part" / "hello.txt"
    path.write_bytes(b"hellp")

    files, faults = verify_folder(store.root)

    assert files == 1
    assert [(fault.path, fault.problem) for fault in faults] == [
        (path, "other bytes than were committed")
    ]


def test_verify_finds_what_is_missing_and_what_was_cut(store: Store, made: Artefact) -> None:
    (made.folder / "part" / "hello.txt").write_text("he")
    assert "2 bytes, not 5" in verify_folder(store.root)[1][0].problem

    (made.folder / "part" / "hello.txt").unlink()
    assert verify_folder(store.root)[1][0].problem == "missing"


def test_verify_is_content_with_what_is_whole(store: Store, made: Artefact) -> None:
    assert verify_folder(store.root) == (1, [])


def test_a_damaged_manifest_is_not_believed(store: Store, made: Artefact) -> None:
    (made.folder / "manifest.json").write_text("{")

    with pytest.raises(StoreError, match="Damaged manifest"):
        read_manifest(made.folder)


def test_a_moved_artefact_is_not_taken_for_another(store: Store, made: Artefact) -> None:
    made.folder.rename(store.folder_of(shape(width_px=9)))

    with pytest.raises(StoreError, match="does not belong"):
        store.find(shape(width_px=9))


def test_a_folder_without_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="never finished"):
        read_manifest(tmp_path)


def test_artefacts_lists_what_is_committed(store: Store, made: Artefact) -> None:
    assert [item.folder for item in store.artefacts()] == [made.folder]
    assert not list(store.artefacts("other"))


def test_canonical_json_sorts_and_refuses_nan() -> None:
    assert canonical_json({"b": Path("x/y"), "a": 1}) == '{"a":1,"b":"x/y"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
    with pytest.raises(TypeError, match="no canonical form"):
        canonical_json(object())


def test_the_digest_of_a_file_replaced_in_place_is_read_anew(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path)
    slide = tmp_path / "slide.svs"
    slide.write_bytes(b"one")
    before = cache.digest(slide)

    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "new").replace(slide)

    assert cache.digest(slide) != before


def test_the_digest_of_a_known_file_is_not_read_again(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path)
    slide = tmp_path / "slide.svs"
    slide.write_bytes(b"one")
    digest = cache.digest(slide)
    (note,) = cache.root.iterdir()
    note.write_text(json.dumps({"sha256": "remembered"}))

    assert digest != "remembered"
    assert cache.digest(slide) == "remembered"
