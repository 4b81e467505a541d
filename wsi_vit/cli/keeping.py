"""What is there, what shaped it, and whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import Json, app
from wsi_vit.settings import Settings


@app.command()
def why(artefact: Path, as_json: Json = False) -> None:
    """Say what shaped a piece of derived data, down to the slides.

    Example: wsi-vit why runs/store/dataset/0123456789abcdef
    """
    from wsi_vit.lineage import explain_artefact

    tree = explain_artefact(artefact, Settings().store_root)
    if as_json:
        console.print_json(tree)
    else:
        console.say("\n".join(tree.lines()).replace("[", r"\["))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder of runs, or one of them.")] = Path(
        "runs"
    ),
    as_json: Json = False,
) -> None:
    """Re-hash everything below a folder and compare it with what was committed.

    Example: wsi-vit verify runs
    """
    from wsi_vit.store import verify_folder

    files, faults = verify_folder(folder)
    if as_json:
        console.print_json({"files": files, "faults": faults})
    else:
        for fault in faults:
            console.warn(f"{fault.path}: {fault.problem}")
        console.say(f"{files} files read, {len(faults)} faults")
    raise typer.Exit(console.FAILED if faults else console.OK)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check versions, reader libraries, GPU, disk and servers; print a fix for each fault.

    Example: wsi-vit doctor
    """
    from wsi_vit.doctor import examine

    findings = examine(Settings())
    if as_json:
        console.print_json(findings)
    else:
        console.print_table([finding.model_dump() for finding in findings])
    raise typer.Exit(console.FAILED if any(item.fix for item in findings) else console.OK)
