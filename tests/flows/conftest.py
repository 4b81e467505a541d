"""One stack of servers for all tests of the flows."""

from collections.abc import Iterator

import pytest

from tests.flows.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"))
    prefect, mlflow = (str(port) for port in stack.ports)
    try:
        said = stack.done("up", "--prefect-port", prefect, "--mlflow-port", mlflow)
        assert "train-wsi/local" in said
        yield stack
    finally:
        stack.call("down")
