from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wsi_vit.cohort import read_cohort, safe_name
from wsi_vit.errors import CohortError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "cohort.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(folder: Path, text: str | bytes) -> str:
    with pytest.raises(CohortError) as caught:
        read_cohort(written(folder, text))
    return str(caught.value)


def test_two_columns_suffice_and_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides/a b.svs").touch()
    cohort = read_cohort(written(tmp_path, "slide,patient\nslides/a b.svs,p1\n"))
    (row,) = cohort.rows
    assert row.slide == tmp_path / "slides/a b.svs"
    assert (row.slide_id, row.patient, row.mpp, row.split) == ("a_b", "p1", None, None)
    assert cohort.warnings == ()


def test_every_optional_column_is_read(tmp_path: Path) -> None:
    text = (
        "stain,split,mpp,annotations,label,site,slide_id,patient,slide\n"
        'H&E,validation,0.5,a.geojson,tumour,"Köln, West",s-1,p1,/far/a.svs\n'
    )
    (row,) = read_cohort(written(tmp_path, text)).rows
    assert row.slide == Path("/far/a.svs")
    assert row.annotations == tmp_path / "a.geojson"
    assert (row.site, row.label, row.mpp) == ("Köln, West", "tumour", 0.5)
    assert (row.split, row.stain, row.slide_id) == ("validation", "H&E", "s-1")


def test_a_byte_order_mark_windows_lines_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfslide,patient\r\n\r\na.svs,p1\r\n , \r\nb.svs,p2\r\n\r\n"
    assert [row.patient for row in read_cohort(written(tmp_path, text)).rows] == ["p1", "p2"]


def test_a_lost_slide_is_a_warning_so_that_the_others_go_on(tmp_path: Path) -> None:
    cohort = read_cohort(written(tmp_path, "slide,patient\nlost.svs,p1\n"))
    assert len(cohort.rows) == 1
    assert cohort.warnings == ("line 2: no such file, so the slide will be quarantined: lost.svs",)


def test_all_problems_come_at_once_with_their_lines(tmp_path: Path) -> None:
    message = problems(
        tmp_path,
        "slide,patient,slide_id,mpp,split\n"
        "a.svs,,x,0.5,train\n"
        "\n"
        'b.svs,p2,x/y,"0,5",val\n'
        "../../etc/passwd,p3,c,400,test\n"
        "d.svs,p4,d,,,more\n"
        "e.svs,p5,e,nan,train\n"
        "f.svs,p6,E,,train\n"
        "g.svs,p6,E,,test\n"
        "g.svs,p7,h,,\n",
    )
    for expected in (
        "line 2: patient: empty",
        "line 4: slide_id: 'x/y' is no safe file name",
        "line 4: mpp: '0,5' is no number; write a point",
        "line 4: split: 'val' is none of train, validation, test; near: 'validation'",
        "line 5: slide: '../../etc/passwd' leads out",
        "line 5: mpp: 400 is no plausible",
        "line 6: 6 values for 5 columns",
        "line 7: mpp: nan",
        "lines 8, 9: the slide_id 'E' is used twice",
        "lines 9, 10: the same slide under 2 patients (p6, p7)",
        "lines 8, 9: patient 'p6' is in train and test",
    ):
        assert expected in message
    assert message.startswith("11 problems in cohort.csv")


def test_columns_are_checked_and_the_near_name_is_told(tmp_path: Path) -> None:
    message = problems(tmp_path, "slide,patiant,mpp,mpp\na.svs,p,1,1\n")
    assert "the column 'patient' is missing" in message
    assert "unknown column 'patiant'; near: 'patient'" in message
    assert "the column 'mpp' is there 2 times" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "empty"),
        (b"slide,patient\n", "no slide below it"),
        (b"slide;patient\na;b\n", "separated by ';'"),
        (b"\xff\xfe\x00s", "no UTF-8 text"),
        (b'slide,patient\n"a.svs,p1\n', "comma-separated"),
    ],
)
def test_a_file_that_is_no_cohort_is_refused_in_words(
    tmp_path: Path, text: bytes, expected: str
) -> None:
    assert expected in problems(tmp_path, text)


def test_a_cohort_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"No such file.*nowhere\.csv"):
        read_cohort(tmp_path / "nowhere.csv")


def test_slide_ids_that_differ_in_case_only_clash(tmp_path: Path) -> None:
    assert "used twice" in problems(tmp_path, "slide,patient\na.svs,p1\nA.tif,p2\n")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret.svs"
    inside.mkdir()
    outside.touch()
    (inside / "a.svs").symlink_to(outside)
    assert "leads out" in problems(inside, "slide,patient\na.svs,p1\n")
    with pytest.raises(CohortError, match="a link that leads out"):
        read_cohort(inside)


def test_a_loop_of_links_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.svs").symlink_to(tmp_path / "b.svs")
    (tmp_path / "b.svs").symlink_to(tmp_path / "a.svs")
    assert "cannot be resolved" in problems(tmp_path, "slide,patient\na.svs,p1\n")


def test_a_folder_of_slides_is_a_cohort_with_a_warning(tmp_path: Path) -> None:
    for name in ("b.SVS", "a.tif", "notes.txt", "._a.tif"):
        (tmp_path / name).touch()
    cohort = read_cohort(tmp_path)
    assert [row.slide_id for row in cohort.rows] == ["a", "b"]
    assert [row.patient for row in cohort.rows] == ["a", "b"]
    assert "leakage" in cohort.warnings[0]


def test_a_folder_without_slides_and_clashing_stems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no slide directly in it"):
        read_cohort(tmp_path)
    for name in ("a.tif", "a.svs"):
        (tmp_path / name).touch()
    with pytest.raises(CohortError, match="used twice"):
        read_cohort(tmp_path)


@given(st.text(max_size=300))
def test_a_safe_name_never_leaves_its_folder(text: str) -> None:
    name = safe_name(text)
    if name is not None:
        assert safe_name(name) == name
        assert Path("/store", name).resolve() == Path("/store") / name
        assert name not in {".", ".."}
        assert len(name) <= 120


@given(st.text(max_size=60))
@example("/")
@example(".")
def test_no_text_in_the_slide_column_escapes_or_crashes(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.csv"
    quoted = text.replace('"', '""')
    path.write_bytes(f'slide,patient\n"{quoted}",p\n'.encode(errors="surrogatepass"))
    try:
        (row,) = read_cohort(path).rows
    except CohortError:
        return
    assert row.slide.is_relative_to(folder) or Path(text.strip()).is_absolute()
    assert "/" not in row.slide_id


def test_one_name_in_two_spellings_of_its_accent_is_one_patient(tmp_path: Path) -> None:
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    text = f"slide,patient,split\na.svs,{composed},train\nb.svs,{decomposed},test\n"
    assert "patient 'M\u00fcller' is in train and test" in problems(tmp_path, text)
    rows = read_cohort(written(tmp_path, text.replace("test", "train"))).rows
    assert len({row.patient for row in rows}) == 1


def test_patients_that_differ_in_case_only_are_warned_of(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.svs").touch()
    cohort = read_cohort(written(tmp_path, "slide,patient\na.svs,P1\nb.svs,p1\nc.svs,P1\n"))
    assert cohort.warnings == (
        "lines 2, 3: patients that differ in case only count as different: 'P1', 'p1'",
    )


def test_a_name_that_no_disk_can_hold_is_a_lost_slide_like_any_other(tmp_path: Path) -> None:
    cohort = read_cohort(written(tmp_path, f"slide,patient\n{'a' * 300}.svs,p\nb.svs,q\n"))
    assert len(cohort.rows) == 2
    assert len(cohort.warnings) == 2
    assert len(cohort.rows[0].slide_id) == 120


def test_a_loop_of_links_named_by_its_absolute_path_is_refused_in_words(tmp_path: Path) -> None:
    loop = tmp_path / "loop.svs"
    loop.symlink_to(loop)
    text = f"slide,patient\n{loop},p1\nx.svs,\n"
    message = problems(tmp_path, text)
    assert "line 2: slide:" in message
    assert "cannot be resolved" in message
    assert "line 3: patient: empty" in message


def test_a_folder_with_a_loop_of_links_names_it(tmp_path: Path) -> None:
    (tmp_path / "fine.svs").touch()
    (tmp_path / "loop.svs").symlink_to(tmp_path / "loop.svs")
    with pytest.raises(CohortError, match=r"One problem .*\n *'loop\.svs': a link that leads no"):
        read_cohort(tmp_path)


def test_ids_that_hold_the_word_line_are_told_as_they_are(tmp_path: Path) -> None:
    for name in ("baseline.tif", "baseline.svs"):
        (tmp_path / name).touch()
    with pytest.raises(CohortError, match="files 1, 2: the slide_id 'baseline' is used twice"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("value", ["0_5", "inf", "-0.5", "0", "1e9", "0.25 um", "NaN", "0,25", "."])
def test_a_resolution_that_is_no_plausible_number_is_refused(tmp_path: Path, value: str) -> None:
    message = problems(tmp_path, f'slide,patient,mpp\na.svs,p,"{value}"\n')
    assert f"line 2: mpp: {value}" in message.replace("'", "")


@pytest.mark.parametrize("value", ["0.05", "10", "2.5e-1", "0.2527"])
def test_a_resolution_within_the_window_is_read_to_the_last_digit(
    tmp_path: Path, value: str
) -> None:
    (row,) = read_cohort(written(tmp_path, f"slide,patient,mpp\na.svs,p,{value}\n")).rows
    assert row.mpp == float(value)


@pytest.mark.parametrize(
    ("word", "near"), [("Train", "train"), ("dev", "validation"), ("tset", "test"), ("holdout", "")]
)
def test_a_split_of_another_spelling_is_told_its_near_one(
    tmp_path: Path, word: str, near: str
) -> None:
    message = problems(tmp_path, f"slide,patient,split\na.svs,p,{word}\n")
    assert f"split: '{word}' is none of train, validation, test" in message
    assert (f"near: '{near}'" in message) == bool(near)


def test_lines_are_counted_in_the_file_even_where_a_value_spans_two(tmp_path: Path) -> None:
    text = 'slide,patient,site\na.svs,p1,"Köln\nWest"\n\nb.svs,,x\n'
    message = problems(tmp_path, text)
    assert "line 2: site: not a plain name" in message
    assert "line 5: patient: empty" in message


def test_empty_values_at_the_end_of_a_line_are_no_problem_and_missing_ones_neither(
    tmp_path: Path,
) -> None:
    text = "slide,patient,site,stain\na.svs,p1,,,,\nb.svs,p2\n"
    assert [(r.site, r.stain) for r in read_cohort(written(tmp_path, text)).rows] == [
        (None, None)
    ] * 2


def test_one_patient_may_have_slides_without_a_split_beside_one_with(tmp_path: Path) -> None:
    text = "slide,patient,split\na.svs,p1,train\nb.svs,p1,\nc.svs,p1,train\n"
    splits = [row.split for row in read_cohort(written(tmp_path, text)).rows]
    assert splits == ["train", None, "train"]


def test_two_ways_to_name_one_file_are_seen_through(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    (tmp_path / "b.svs").symlink_to(tmp_path / "a.svs")
    text = f"slide,patient,slide_id\na.svs,p1,x\nb.svs,p1,y\n{tmp_path}/a.svs,p1,z\n"
    assert "lines 2, 3, 4: the same slide twice: a.svs" in problems(tmp_path, text)


@pytest.mark.parametrize("stem", ["CON", "nul.1", "...", "---", "com3"])
def test_a_file_whose_name_is_no_id_needs_one_of_its_own(tmp_path: Path, stem: str) -> None:
    assert "give a slide_id" in problems(tmp_path, f"slide,patient\n{stem}.svs,p\n")
    (row,) = read_cohort(written(tmp_path, f"slide,patient,slide_id\n{stem}.svs,p,ok\n")).rows
    assert row.slide_id == "ok"


LINES = st.lists(
    st.tuples(
        st.sampled_from(["p1", "p2", "p3", ""]),
        st.sampled_from(["train", "validation", "test", "val", ""]),
        st.sampled_from(["0.5", "", "half"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_a_cohort_is_read_whole_or_every_faulty_line_is_named(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = "slide,patient,split,mpp\n" + "".join(
        f"{number}.svs,{','.join(cells)}\n" for number, cells in enumerate(lines)
    )
    faulty = {
        number
        for number, (patient, split, mpp) in enumerate(lines, start=2)
        if not patient or split == "val" or mpp == "half"
    }
    splits: dict[str, set[str]] = {}
    for number, (patient, split, _) in enumerate(lines, start=2):
        if split and number not in faulty:
            splits.setdefault(patient, set()).add(split)
    straddling = {patient for patient, found in splits.items() if len(found) > 1}
    try:
        cohort = read_cohort(written(folder, text))
    except CohortError as error:
        said = str(error)
        assert {n for n in range(2, 11) if f"line {n}: " in said} == faulty
        assert {p for p in ("p1", "p2", "p3") if f"patient '{p}' is in" in said} == straddling
        assert faulty or straddling
    else:
        assert not faulty
        assert not straddling
        assert [row.patient for row in cohort.rows] == [patient for patient, _, _ in lines]


def test_outlined_tissue_is_named_by_a_column_or_found_beside_the_slide(tmp_path: Path) -> None:
    (tmp_path / "b.tissue.geojson").write_text("{}")
    text = "slide,patient,tissue_mask\na.svs,p,masks/a.geojson\nb.svs,p,\nc.svs,p,\n"

    cohort = read_cohort(written(tmp_path, text))

    assert [row.tissue_mask for row in cohort.rows] == [
        tmp_path / "masks/a.geojson", tmp_path / "b.tissue.geojson", None,
    ]  # fmt: skip
    assert any("a.geojson" in warning for warning in cohort.warnings), "it is not there"


def test_outlined_tissue_is_found_in_a_folder_of_slides(tmp_path: Path) -> None:
    for name in ("a.svs", "a.tissue.geojson", "b.svs"):
        (tmp_path / name).touch()

    rows = read_cohort(tmp_path).rows

    assert [row.tissue_mask for row in rows] == [tmp_path / "a.tissue.geojson", None]
