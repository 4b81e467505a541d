"""`wsi-vit` with a Prefect server, a worker and MLflow of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from wsi_vit import console


class Stack:
    """`wsi-vit` on servers of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ports = folder, (free_port(), free_port())
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
            "WSI_VIT_RUNS": str(folder / "runs"),
            "OMP_NUM_THREADS": "1",
        }

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wsi_vit", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=900,
            check=False,
        )

    def done(self, *arguments: str) -> str:
        result = self.call(*arguments)
        assert result.returncode == console.OK, result.stdout + result.stderr
        return result.stdout

    def api(self, path: str, **body: Any) -> Any:
        request = Request(
            f"http://127.0.0.1:{self.ports[0]}/api/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=20) as answer:
            return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
