"""The few lines that travel with a version and tell MLflow how to ask our model.

MLflow runs this file when it loads or serves a version; nothing else imports it. The work is done
by the installed `wsi_vit`, so that a version stays as small as its weights.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from wsi_vit.tracking.served import ServedModel


class EncodedImages(PythonModel):
    """A table with a column `image` of JPEG or PNG bytes in, a row of findings each out."""

    def load_context(self, context: Any) -> None:
        """Load the weights from the folder that travels with this file."""
        self.served = ServedModel.load(context.artifacts["model"])

    def predict(  # type: ignore[override]  (MLflow's own base says that it returns None)
        self,
        context: Any,  # noqa: ARG002  (MLflow's own signature)
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Return one row an image, in the same order."""
        return pd.DataFrame(self.served.rows(list(model_input["image"])))


set_model(EncodedImages())
