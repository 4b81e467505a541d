"""The names of the stages, which are imported when they are asked for."""

from importlib import import_module

import pytest

from wsi_vit import pipeline


def test_each_name_that_is_promised_is_there_and_no_other() -> None:
    assert sorted(pipeline._PLACES) == sorted(pipeline.__all__)
    for name, module in pipeline._PLACES.items():
        assert getattr(pipeline, name) is getattr(import_module(f"wsi_vit.pipeline.{module}"), name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="bulid"):
        pipeline.bulid  # noqa: B018
