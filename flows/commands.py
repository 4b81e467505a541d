"""The verbs that need Prefect: demo, up, down, deploy, trigger, status.

`wsi-vit` finds them through the entry-point group `wsi_vit.commands`. Prefect is imported inside
the verbs, after the environment names the server.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from wsi_vit import console
from wsi_vit.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (demo, up, down, deploy, trigger, status):
        app.command()(verb)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demonstration.")] = Path("runs/demo"),
) -> None:
    """Run the main job, offline, on a synthetic colorectal cohort.

    Example: wsi-vit demo --out runs/demo
    """
    from flows.demo import run_demo

    run_demo(out)


def up(
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's pages.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's pages.")] = 5000,
    pool: Annotated[str, typer.Option(help="Pool that this computer's worker serves.")] = "local",
) -> None:
    """Start Prefect server, a worker and MLflow's pages on this computer.

    Example: wsi-vit up --prefect-port 4200 --mlflow-port 5000
    """
    from flows import servers

    settings = Settings()
    for server in servers.start(settings, prefect_port=prefect_port, mlflow_port=mlflow_port):
        console.say(f"{server.name:<14} {server.url}   log: {server.log}")
    names = _deploy(settings, schedule=None)
    worker = servers.start_worker(settings, pool=pool)
    console.say(f"{worker.name:<14} takes {', '.join(n for n in names if n.endswith(pool))}")
    console.say("\nNext: [bold]wsi-vit trigger train-wsi -p cohort=cohort.csv --watch[/bold]")
    console.say(f"For Prefect's own commands: export PREFECT_API_URL={servers.api_url(settings)}")


def down() -> None:
    """End exactly what `wsi-vit up` started.

    Example: wsi-vit down
    """
    from flows import servers

    ended = servers.stop(Settings())
    console.say(f"Ended: {', '.join(item.name for item in ended) or 'nothing was running'}")


def deploy(
    schedule: Annotated[
        bool | None, typer.Option(help="Switch the nightly schedules on or off; else they stay.")
    ] = None,
) -> None:
    """Register pools, deployments, limits and automations with Prefect; repeat it at will.

    Example: wsi-vit deploy --schedule
    """
    for name in _deploy(Settings(), schedule=schedule):
        console.say(name)


def trigger(
    flow: Annotated[str, typer.Argument(help="A flow such as train-wsi, or FLOW/DEPLOYMENT.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="key=value, repeatable.")
    ] = None,
    pool: Annotated[str, typer.Option(help="local or gpu.")] = "local",
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
) -> None:
    """Start a deployment by its short name.

    Example: wsi-vit trigger train-wsi -p recipe=wsi_segmentation -p cohort=cohort.csv --watch
    """
    _use_server(Settings())
    from flows import runs

    run = runs.start(flow, parameter or [], pool=pool)
    console.say(f"{run.name}: {run.url}")
    if watch:
        raise typer.Exit(runs.follow(run))


def status(
    limit: Annotated[int, typer.Option(help="How many runs.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show servers and the latest runs with their stages and quarantined slides.

    Example: wsi-vit status --limit 5
    """
    settings = Settings()
    from flows import servers

    alive = servers.running(settings)
    _use_server(settings)
    from flows import runs

    latest = runs.latest(limit)
    if as_json:
        console.print_json({"servers": alive, "runs": latest})
        return
    console.print_table([_server_row(item) for item in alive], title="Servers")
    console.print_table(latest, title="Runs")


def _server_row(server: Any) -> dict[str, Any]:
    return {"server": server.name, "address": server.url or "", "pid": server.pid}


def _deploy(settings: Settings, *, schedule: bool | None) -> list[str]:
    _use_server(settings)
    from flows import deployments

    return deployments.deploy(schedule=schedule)


def _use_server(settings: Settings) -> None:
    """Point Prefect's client at the environment's server, or at that of `wsi-vit up`."""
    from flows import servers
    from wsi_vit.errors import ServiceError

    url = servers.api_url(settings)
    if url is None:
        raise ServiceError(
            "No Prefect server is known", remedy="Run wsi-vit up, or set PREFECT_API_URL"
        )
    os.environ["PREFECT_API_URL"] = url
