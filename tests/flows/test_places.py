"""Cards, cores and workers are divided among runs side by side."""

import pytest

from flows.places import Place, _allowed, divided, places_here
from wsi_vit.settings import Settings
from wsi_vit.training.gpu_lock import visible_cards


def test_each_run_gets_a_card_of_its_own_and_a_share_of_the_cores() -> None:
    places = divided(3, cards=("0", "2", "GPU-9f"), cores=16, workers=8)

    assert [place.card for place in places] == ["0", "2", "GPU-9f"]
    assert {(place.threads, place.workers) for place in places} == {(5, 2)}
    assert places[1].environment() == {
        "OMP_NUM_THREADS": "5",
        "WSI_VIT_WORKERS": "2",
        "CUDA_VISIBLE_DEVICES": "2",
        "WSI_VIT_DEVICE": "cuda",  # the one card that is seen is the first
    }


def test_runs_queue_where_cards_are_fewer_and_cards_rest_where_runs_are() -> None:
    assert [p.card for p in divided(4, cards=("0", "1"), cores=8, workers=8)] == ["0", "1"]
    assert [p.card for p in divided(1, cards=("0", "1"), cores=8, workers=8)] == ["0"]


@pytest.mark.parametrize(
    ("cores", "workers", "places", "threads"),
    [(2, 8, 2, 1), (16, 8, 3, 5), (16, 1, 1, 16), (1, 8, 1, 1)],
)
def test_without_cards_the_cores_and_the_settings_bound_what_goes_side_by_side(
    cores: int, workers: int, places: int, threads: int
) -> None:
    found = divided(3, cards=(), cores=cores, workers=workers)

    assert [place.threads for place in found] == [threads] * places
    assert all("CUDA_VISIBLE_DEVICES" not in place.environment() for place in found)


def test_a_process_keeps_to_the_threads_that_the_environment_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    assert {p.threads for p in places_here(1, Settings(device="cpu"))} == {1}
    assert divided(1, cards=(), cores=8, workers=8, most_threads=3)[0].threads == 3


@pytest.mark.parametrize(
    ("device", "cards"),
    [(None, ("4", "5")), ("cuda", ("4", "5")), ("cuda:1", ("5",)), ("cuda:7", ()), ("cpu", ())],
)
def test_the_device_that_was_asked_for_decides_which_cards_may_be_taken(
    device: str | None, cards: tuple[str, ...]
) -> None:
    assert tuple(_allowed(("4", "5"), device)) == cards


@pytest.mark.parametrize(
    ("named", "count", "cards"),
    [
        (None, 2, ("0", "1")),
        ("3, GPU-9f,-1", 2, ("3", "GPU-9f")),  # the driver stops counting at -1
        ("", 0, ()),
        (None, 0, ()),
    ],
)
def test_the_cards_that_may_be_seen_are_named_as_the_lock_names_them(
    named: str | None, count: int, cards: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)

    assert visible_cards() == cards


def test_a_place_says_what_it_is() -> None:
    assert Place(card="1", threads=2, workers=1).words == "GPU 1"
    assert Place(card=None, threads=2, workers=1).words == "2 CPU threads"
