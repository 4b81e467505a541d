"""The rules of the layout, checked on every run."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wsi_vit"
FLOWS = ROOT / "flows"

LAYERS = (
    {"errors", "section", "geometry", "ahead"},
    {"labels", "settings", "cohort", "console"},
    {"metrics", "store"},
    {"slides"},
    {"datasets"},
    {"models"},
    {"training"},
    {"evaluation", "prediction", "tracking", "lineage", "doctor"},
    {"explanation"},
    {"recipe"},
    {"pipeline"},
    {"planning"},
    {"cli"},
)
"""Rooms of the package from the ground up: a room imports from its own and from lower layers."""
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}

DOORS = {
    "openslide": "slides",
    "tifffile": "slides",
    "pydicom": "slides",
    "datasets": "datasets",
    "transformers": "models",
    "monai": "models",
    "peft": "models",
    "accelerate": "training",
    "mlflow": "tracking",
    "zarr": "prediction",
}
"""A heavy library, and the only room that may import it."""

LIGHT = ("models", "training", "metrics.py", "datasets/augmentation")
"""What a GPU machine imports, every module of it."""

HEAVY = {*DOORS, "prefect", "openslide", "sklearn", "matplotlib", "shapely", "pyarrow"} - {
    "transformers",
    "accelerate",
}
"""What a GPU machine may lack."""

MODULES = sorted([*PACKAGE.rglob("*.py"), *FLOWS.rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {module_of(node.module, alias.name) for alias in node.names}
    return names


def module_of(package: str, name: str) -> str:
    """Return `package.name` where that is a module of ours, else the package."""
    place = ROOT.joinpath(*package.split("."), name)
    is_module = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
    return f"{package}.{name}" if is_module else package


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    return [
        (f"{label(path)}:{node.lineno} {node.name}", node)
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef, text: list[str]) -> int:
    """Count a function's lines without its docstring and its blank lines."""
    assert node.end_lineno
    lines = range(node.lineno, node.end_lineno + 1)
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    skipped = range(first.lineno, (first.end_lineno or 0) + 1) if documented else range(0)
    return sum(1 for line in lines if line not in skipped and text[line - 1].strip())


def in_package(path: Path) -> bool:
    return path.is_relative_to(PACKAGE) and room_of(path) not in {"__init__", "__main__"}


@pytest.mark.parametrize("path", [path for path in MODULES if in_package(path)], ids=label)
def test_imports_point_down(path: Path) -> None:
    here = room_of(path)
    for name in imports_of(path):
        if name.startswith("wsi_vit."):
            there = name.split(".")[1]
            assert there == here or RANK[there] < RANK[here], f"{label(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_heavy_library_has_one_door(path: Path) -> None:
    for name in imports_of(path):
        top = name.split(".")[0]
        if top in {"prefect", "flows"}:
            assert path.is_relative_to(FLOWS), f"{label(path)} imports {name}"
        if top in DOORS:
            inside = path.is_relative_to(PACKAGE) and room_of(path) == DOORS[top]
            assert inside, f"{label(path)} imports {name}"


@pytest.mark.parametrize("room", LIGHT)
def test_a_gpu_machine_needs_no_more_than_torch(room: str) -> None:
    """Import in a fresh interpreter that refuses everything such a machine may lack."""
    files = [path for path in MODULES if path.is_relative_to(PACKAGE / room)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError(f"a GPU machine lacks {{name}}")
sys.meta_path.insert(0, Refuse())
import {", ".join(names)}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module", ["wsi_vit.recipe", "wsi_vit.slides.tiling", "wsi_vit.pipeline.tiling", "wsi_vit.cli"]
)
def test_a_recipe_is_read_and_slides_are_tiled_without_torch(module: str) -> None:
    """It takes longer to import than most slides take to tile."""
    heavy = ["torch", "transformers", "accelerate", "datasets", "mlflow", "scipy"]
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_no_import_goes_round() -> None:
    graph = {
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__"): {
            name for name in imports_of(path) if name.startswith(("wsi_vit", "flows"))
        }
        for path in MODULES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for target in graph.get(module, ()):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_fits_on_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


def test_functions_are_short() -> None:
    sizes = {
        f"{label(path)}:{node.lineno} {node.name}": length(node, path.read_text().splitlines())
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    ordered = sorted(sizes.values())

    assert median(ordered) <= 10
    assert ordered[int(0.9 * len(ordered))] <= 30
    assert [name for name, size in sizes.items() if size > 60] == []


def test_functions_take_at_most_six_parameters() -> None:
    crowded = [
        name
        for name, node in functions()
        if len([a for a in node.args.args + node.args.kwonlyargs if a.arg not in {"self", "cls"}])
        > 6
        and not is_command(node)
    ]

    assert crowded == []


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A verb of the command line: its parameters are what a user may type."""
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_no_handler_swallows(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            silent = all(isinstance(part, ast.Pass | ast.Continue) for part in node.body)
            assert node.type is not None, f"{label(path)}:{node.lineno} bare except"
            assert not (broad and silent), f"{label(path)}:{node.lineno} swallows everything"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_every_public_name_is_documented(path: Path) -> None:
    missing = [
        f"{label(path)}:{node.lineno} {node.name}"
        for node in [*tree_of(path).body, *class_bodies(path)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert ast.get_docstring(tree_of(path)) is not None
    assert missing == []


def class_bodies(path: Path) -> list[ast.stmt]:
    return [
        member
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for member in node.body
    ]


@pytest.mark.parametrize("path", TESTS, ids=label)
def test_no_test_asserts_nothing(path: Path) -> None:
    idle = [
        f"{label(path)}:{node.lineno} {node.name}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not any(
            isinstance(part, ast.Assert)
            or "raises" in ast.unparse(part)
            or "assert" in ast.unparse(part)
            for part in ast.walk(node)
            if isinstance(part, ast.Assert | ast.With | ast.Call)
        )
    ]
    assert idle == []


def test_no_file_names_a_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.splitlines()
    folders = tuple(f"/{name}/" for name in ("work", "root", "farm"))
    found = [
        name
        for name in tracked
        if (ROOT / name).suffix in {".py", ".md", ".toml", ".yaml", ".sh", ".json", ""}
        and (ROOT / name).is_file()
        and any(
            f" {f}" in text or f'"{f}' in text or f"'{f}" in text or f"`{f}" in text
            for text in [(ROOT / name).read_text(errors="ignore")]
            for f in folders
        )
    ]
    assert found == []


def test_the_layout_the_readme_shows_is_there() -> None:
    readme = (ROOT / "README.md").read_text()
    for room in sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()):
        if room.startswith("__"):
            continue
        assert f"{room}/" in readme, f"README's tree lacks wsi_vit/{room}/"
