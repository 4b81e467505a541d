"""A `model/` folder as an MLflow pyfunc: code by file, weights as safetensors, no pickle."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wsi_vit.labels import LabelMap
from wsi_vit.tracking.client import pyfunc
from wsi_vit.tracking.served import IMAGE, columns_out

INSIDE = "artifacts/model"
"""Where the model's folder lies in the package."""
_CODE = Path(__file__).with_name("model_code.py")


def save_package(model: Path, target: Path, *, run_id: str, model_id: str) -> None:
    """Write the package of a model folder; `mlflow.pyfunc.load_model` and `serve` take it.

    Requirements are named, not guessed, so that nothing is imported or looked up to find them.
    """
    from mlflow.models import Model

    with pyfunc() as mlflow_pyfunc:
        mlflow_pyfunc.save_model(
            target,
            python_model=str(_CODE),
            artifacts={"model": str(model.absolute())},
            signature=_signature(model),
            pip_requirements=[_requirement()],
            mlflow_model=Model(run_id=run_id, model_id=model_id),
        )
    _forget_this_computer(target)


def _forget_this_computer(target: Path) -> None:
    """Make the paths in MLmodel relative: what they were here is nobody's business elsewhere."""
    from mlflow.models import Model

    package = Model.load(str(target))
    flavour = package.flavors["python_function"]
    flavour["model_code_path"] = _CODE.name
    flavour["artifacts"]["model"]["uri"] = INSIDE
    package.save(str(target / "MLmodel"))


def _signature(model: Path) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from wsi_vit.models.load import saved_section

    labels = LabelMap.model_validate_json((model / "labels.json").read_bytes())
    outputs = columns_out(labels, saved_section(model).task).items()
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs]),
    )


def _requirement() -> str:
    try:
        return f"wsi-vit=={version('wsi-vit')}"
    except PackageNotFoundError:
        return "wsi-vit"
