"""What the documents tell people to type exists, and so does every file they point to."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from flows.commands import register
from flows.deployments import deployment_names
from wsi_vit.cli import app
from wsi_vit.recipe import load_recipe, recipe_names

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINKED = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_to_type(path: Path) -> Iterator[str]:
    """Yield the lines of a document that call `wsi-vit`, in blocks, in a sentence, in a comment."""
    text = path.read_text()
    if path.suffix == ".yaml":
        yield from re.findall(r"wsi-vit [^(\n]+", text)
        return
    for _, block in FENCED.findall(text):
        yield from re.findall(r"wsi-vit [^\n|]+", block)
    yield from (" ".join(said.split()) for said in re.findall(r"`(wsi-vit [^`]+)`", text))


@pytest.fixture(scope="module")
def verbs() -> Any:
    register(app)
    return typer.main.get_command(app)


@pytest.mark.parametrize("path", [*DOCUMENTS, *RECIPES], ids=label)
def test_each_command_has_its_verb_and_its_options(path: Path, verbs: Any) -> None:
    for line in lines_to_type(path):
        words = shlex.split(line.split("  #")[0].split(" — ")[0], comments=True)[1:]
        command = verbs
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command is not verbs, f"{label(path)}: no such verb: {line}"
        known = {name for item in command.params for name in (*item.opts, *item.secondary_opts)}
        asked = {word for word in words if re.fullmatch(r"-\w|--[a-z][a-z-]*", word)}
        assert asked <= known, f"{label(path)}: {line}: {asked - known}"


@pytest.mark.parametrize("path", [*DOCUMENTS, *RECIPES], ids=label)
def test_each_recipe_and_flow_that_is_named_in_a_command_is_there(path: Path) -> None:
    flows = {name.split("/")[0] for name in deployment_names()}
    for line in lines_to_type(path):
        words = line.split()
        if words[1] == "trigger":
            assert words[2] in flows, line
        elif words[1] in {"run", "train", "dataset", "plan", "tile", "compare", "pretrain"}:
            named = words[2] if len(words) > 2 else "RECIPE"
            known = named in recipe_names() or named.endswith(".yaml") or named.isupper()
            assert known or named.startswith("-"), line


@pytest.mark.parametrize("path", DOCUMENTS, ids=label)
def test_each_file_that_is_linked_is_there(path: Path) -> None:
    targets = [t for t in LINKED.findall(path.read_text()) if "://" not in t]
    lost = [target for target in targets if not (path.parent / target).exists()]

    assert lost == []


def test_the_recipe_that_the_how_to_builds_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs/how-to/new-recipe.md").read_text()
    steps, _, expected = text.partition("## What to expect")
    parts = [block for kind, block in FENCED.findall(steps) if kind == "yaml"]
    one = [part for part in parts if "kind: folder" not in part]
    path = tmp_path / "roads.yaml"
    path.write_text("\n".join(one))

    assert load_recipe(path).source.kind == "camvid"
    for part in parts:
        assert isinstance(yaml.safe_load(part), dict)
    (longer,) = (block for kind, block in FENCED.findall(expected) if kind == "yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load("\n".join(one)) | yaml.safe_load(longer)))
    assert load_recipe(path).model.kind == "eomt"


def test_the_readme_has_every_recipe_in_its_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert sorted(rows) == sorted(recipe_names())
