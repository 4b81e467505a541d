"""Compiled forward passes: what is compiled, how often, and that nothing else notices."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.training.small import PLAIN, Small, section, shades, weights_of
from tests.training.test_models import halves, make
from wsi_vit.errors import TrainingError
from wsi_vit.models.load import load_model
from wsi_vit.training import compilation
from wsi_vit.training.engine import Engine
from wsi_vit.training.loop import fit, learn
from wsi_vit.training.records import Step

REAL = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
"""What imports the real compiler."""
SLOW = pytest.mark.skipif(
    not os.environ.get("WSI_VIT_COMPILE"),
    reason="takes a minute and a C++ compiler: set WSI_VIT_COMPILE=1",
)
SECTION = {"epochs": 2, "learning_rate": 1e-3, "compile": "default"}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """Collect the graphs that are captured, which run as they are: no compiler is waited for."""
    captured: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        captured.append(graph)
        return graph.forward

    # `mode` is an option of the real compiler alone.
    compile_ = torch.compile
    monkeypatch.setattr(compilation.torch, "compile", lambda f, mode, **other: compile_(f, **other))
    monkeypatch.setattr(compilation, "_BACKEND", keep)
    return captured


def options(*, masks: bool = False, images: int = 10, **changes: Any) -> dict[str, Any]:
    return {
        "train": halves(images, masks=masks),
        "validation": halves(4, masks=masks),
        "training": section(**SECTION | changes),
        "augmentation": PLAIN,
    }


def test_one_graph_serves_a_run_and_smaller_batches_go_without(
    graphs: list[torch.fx.GraphModule], tmp_path: Path
) -> None:
    compiled, plain = make("our vit", 0), make("our vit", 0)

    list(fit(compiled, **options(), folder=tmp_path / "compiled"))  # 4 + 4 + 2 images an epoch
    list(fit(plain, **options(compile="none"), folder=tmp_path / "plain"))

    assert len(graphs) == 1
    assert weights_of(compiled) == weights_of(plain)  # the graph runs the very same kernels here


@pytest.mark.parametrize("kind", ["vit", "adapted vit", "masked vit", "segmenter", "eomt"])
def test_other_models_compile_as_well(
    kind: str, graphs: list[torch.fx.GraphModule], tmp_path: Path
) -> None:
    model, masks = make(kind, 0), "vit" not in kind

    list(fit(model, **options(masks=masks, images=4, epochs=1), folder=tmp_path))

    assert 1 <= len(graphs) <= 4
    assert not counters["graph_break"]


@SLOW
def test_a_maskformer_compiles_in_pieces(
    graphs: list[torch.fx.GraphModule], tmp_path: Path
) -> None:
    list(fit(make("maskformer", 0), **options(masks=True, images=4, epochs=1), folder=tmp_path))

    assert len(graphs) > 1


def test_the_model_is_not_wrapped(graphs: list[torch.fx.GraphModule], tmp_path: Path) -> None:
    model, plain = make("our vit", 0), make("our vit", 0)

    list(fit(model, **options(ema=0.9), folder=tmp_path / "run"))
    model.save(tmp_path / "model")

    assert graphs
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_modules()] == [n for n, _ in plain.named_modules()]
    assert "forward" not in vars(model.network)
    again = load_model(tmp_path / "model")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(again.scores(images), model.eval().scores(images))


def test_what_is_judged_is_not_compiled(graphs: list[torch.fx.GraphModule]) -> None:
    model = make("our vit", 0)
    engine = Engine(model, section(**SECTION), PLAIN)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)

    with engine.judged():
        model.eval().scores(images)

    assert graphs == []


def test_short_memory_is_answered_as_ever(
    graphs: list[torch.fx.GraphModule], tmp_path: Path
) -> None:
    model = make("our vit", 0)
    loss = model.loss

    def cramped(batch: Any) -> torch.Tensor:
        if len(batch["images"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return loss(batch)

    model.loss = cramped
    epochs = list(fit(model, **options(), folder=tmp_path))

    assert [epoch.micro_batch for epoch in epochs] == [2, 2]
    assert len(graphs) == 1
    assert "forward" not in vars(model.network)


@SLOW
@REAL
def test_a_resumed_run_gives_the_very_same_weights_by_the_real_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    straight, resumed = make("our vit", 0), make("our vit", 1)
    list(fit(straight, **options(images=8), folder=tmp_path / "straight"))
    made = counters["inductor"]["fxgraph_cache_miss"]
    events = learn(make("our vit", 0), **options(images=8), folder=tmp_path / "resumed")
    while not (isinstance(event := next(events), Step) and event.step == 3):
        pass
    events.close()

    list(fit(resumed, **options(images=8), folder=tmp_path / "resumed"))

    assert weights_of(resumed) == weights_of(straight)
    assert made >= 1
    assert counters["inductor"]["fxgraph_cache_miss"] == made  # the other runs found it made


def test_cuda_graphs_without_cuda_are_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU has them")
    with pytest.raises(TrainingError, match="CUDA graphs need a CUDA device"):
        Engine(make("our vit", 0), section(compile="reduce-overhead"), PLAIN)


@SLOW
@REAL
def test_a_machine_without_a_compiler_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))

    with pytest.raises(TrainingError, match=r"cannot be compiled.*InvalidCxxCompiler.*g\+\+"):
        list(fit(make("our vit", 0), **options(images=4), folder=tmp_path / "run"))


@pytest.mark.usefixtures("graphs")
def test_a_compiler_that_fails_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compilation, "_BACKEND", fail)

    with pytest.raises(
        TrainingError, match=r"cannot be compiled.*No working C\+\+ compiler.*g\+\+"
    ):
        list(fit(make("our vit", 0), **options(images=4), folder=tmp_path / "run"))


def test_a_compiled_run_is_another_run(graphs: list[torch.fx.GraphModule], tmp_path: Path) -> None:
    list(fit(make("our vit", 0), **options(images=4, epochs=1), folder=tmp_path))

    with pytest.raises(TrainingError, match="other settings"):
        list(fit(make("our vit", 0), **options(images=4, compile="none"), folder=tmp_path))
    assert graphs


def test_where_and_how_a_run_is_carried_out_is_not_what_it_is() -> None:
    plain = section().course

    assert section(workers=3, checkpoint_every_steps=2, recompute="blocks").course == plain
    assert section(compile="default").course != plain
    assert (
        section(compile="default", recompute="blocks").course != section(compile="default").course
    )
    assert "compile" not in plain


def test_a_model_of_ones_own_can_be_compiled(
    graphs: list[torch.fx.GraphModule], tmp_path: Path
) -> None:
    model = Small()

    list(
        fit(model, shades(16), shades(6), training=section(compile="default"), augmentation=PLAIN,
            folder=tmp_path)
    )  # fmt: skip

    assert len(graphs) == 2  # the two parts that it names
