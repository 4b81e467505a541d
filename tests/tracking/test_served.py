import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.tracking.conftest import LABELS, MakeRun
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.models.multi_label import MultiLabel
from wsi_vit.models.sections import MultiLabelSection, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.tracking.client import pyfunc
from wsi_vit.tracking.packaging import save_package
from wsi_vit.tracking.registry import Registry
from wsi_vit.tracking.served import ServedModel, columns_out

START_LIMIT_S = 120.0
HINTS = "ignore:.*Any type hint is inferred as AnyType:UserWarning"


def encoded(kind: str = "PNG", *, size: tuple[int, int] = (40, 50), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


class LeftIsNormal:
    """A segmenter whose truth is known: the left half is class 1, the right half class 0."""

    labels, task, input_px = LABELS, "segmentation", 8

    def scores(self, images: Tensor) -> Tensor:
        scores = torch.zeros(len(images), 2, 8, 8)
        scores[:, 1, :, :4] = 1.0
        scores[:, 0, :, 4:] = 1.0
        return scores


def segmenter() -> ServedModel:
    model: Any = LeftIsNormal()
    return ServedModel(model)


def test_a_tile_gets_a_label_and_a_score_a_class(tiny_model: Path) -> None:
    image = encoded()
    (row,) = ServedModel.load(tiny_model).rows([image])
    assert list(row) == ["label", "score_tumour", "score_normal"]
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(image)))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = load_model(tiny_model).scores(pixels)[0]
    assert [row["score_tumour"], row["score_normal"]] == pytest.approx(expected.tolist())
    assert row["label"] == LABELS.names[int(expected.argmax())]


def test_a_class_map_is_a_png_of_export_ids_as_large_as_the_image() -> None:
    (row,) = segmenter().rows([encoded(size=(64, 30))])
    mask = np.array(Image.open(io.BytesIO(row["class_map"])))
    assert mask.shape == (30, 64)
    assert set(np.unique(mask[:, :30])) == {3}
    assert set(np.unique(mask[:, 34:])) == {7}
    assert row["share_tumour"] == pytest.approx(0.5)
    assert row["share_tumour"] + row["share_normal"] == pytest.approx(1)


def test_several_labels_are_a_yes_or_no_and_a_score_each(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = ConfigStart(options={"width": 32, "depth": 1, "heads": 2, "patch_px": 8})
    model = build_model(MultiLabelSection(start=start, input_px=32), LABELS, "multi_label")
    score = model.eval().scores(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0].tolist()
    cast(MultiLabel, model).call_present_from((score[0] + 0.01, score[1] - 0.01))
    model.save(tmp_path)
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "PNG")

    (row,) = ServedModel.load(tmp_path).rows([stream.getvalue()])

    assert row == {
        "has_tumour": False,
        "has_normal": True,
        "score_tumour": pytest.approx(score[0]),
        "score_normal": pytest.approx(score[1]),
    }
    assert list(columns_out(LABELS, "multi_label")) == list(row)


@pytest.mark.parametrize("data", [b"", b"no image", encoded()[:80], encoded("GIF")])
def test_bytes_that_are_no_image_name_their_row(tiny_model: Path, data: bytes) -> None:
    with pytest.raises(ModelError, match="Row 1"):
        ServedModel.load(tiny_model).rows([encoded(), data])


def test_what_is_averaged_is_what_was_saved_with_the_model(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    assert ServedModel.load(folder).average == "none"
    (folder / "prediction.json").write_text(json.dumps({"average": "flips", "overlap": 0.5}))
    assert ServedModel.load(folder).average == "flips"

    (folder / "prediction.json").write_text("{")
    with pytest.raises(ModelError, match="settings saved"):
        ServedModel.load(folder)


def test_a_view_of_the_mirror_image_is_turned_back() -> None:
    averaged = ServedModel(segmenter().model, "flips")
    (row,) = averaged.rows([encoded()])  # left and right now score alike: the first class wins

    assert row["share_tumour"] == 1.0


def test_every_kind_of_classifier_is_packed_with_a_label_and_a_score_a_class(
    tmp_path: Path,
) -> None:
    from mlflow.models import Model

    options = {"width": 16, "depth": 1, "heads": 2, "patch_px": 8}
    section = VitSection(start=ConfigStart(options=options), input_px=32)
    build_model(section, LABELS, "classification").save(tmp_path / "model")

    save_package(tmp_path / "model", tmp_path / "package", run_id="0" * 32, model_id="m-0")

    signature = Model.load(str(tmp_path / "package")).signature
    assert signature
    assert signature.outputs.input_names() == ["label", "score_tumour", "score_normal"]


def test_an_absurdly_large_image_is_refused_from_its_header(tiny_model: Path) -> None:
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    with pytest.raises(ModelError, match="9000 x 9000"):
        ServedModel.load(tiny_model).rows([stream.getvalue()])


@pytest.mark.filterwarnings(HINTS)
def test_mlflow_loads_a_version_and_asks_it(
    make_run: MakeRun, uri: str, tmp_path: Path, tiny_model: Path
) -> None:
    import pandas as pd

    version = Registry(uri, cache=tmp_path / "cache").register(make_run())
    (package,) = (tmp_path / "runs" / "mlartifacts" / version.name / "models").iterdir()
    with pyfunc() as mlflow_pyfunc:
        model = mlflow_pyfunc.load_model(str(package / "artifacts"))
    images = [encoded("JPEG", seed=n) for n in range(3)]
    answer = model.predict(pd.DataFrame({"image": images}))
    assert answer.to_dict("records") == ServedModel.load(tiny_model).rows(images)
    assert model.metadata.signature.outputs.input_names() == list(answer.columns)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def served(make_run: MakeRun, uri: str, port: int, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` on the champion, as the documentation says to start it."""
    registry = Registry(uri)
    registry.register(make_run())
    registry.promote("wsi-vit-demo")
    binaries = Path(sys.executable).parent
    command = [
        binaries / "mlflow",
        "models",
        "serve",
        "--model-uri",
        "models:/wsi-vit-demo@champion",
    ]
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PATH": path, "OMP_NUM_THREADS": "1"}
    log_path = tmp_path / "serve.log"
    log = log_path.open("wb")
    process = subprocess.Popen(
        [*command, *options],
        env=environment,
        start_new_session=True,
        stdout=log,
        stderr=log,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", process, log_path)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        log.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


def test_mlflow_serves_the_champion_over_http(served: str, tiny_model: Path) -> None:
    images = [encoded("JPEG", seed=n) for n in range(2)]
    rows = [[base64.b64encode(image).decode()] for image in images]
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}).encode()
    request = urllib.request.Request(served, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)["predictions"]
    expected = ServedModel.load(tiny_model).rows(images)
    assert [row["label"] for row in answer] == [row["label"] for row in expected]
    assert answer[0]["score_tumour"] == pytest.approx(expected[0]["score_tumour"], abs=1e-5)
