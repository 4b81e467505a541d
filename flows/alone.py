"""One flow run in a process of its own: `python -m flows.alone FLOW RUN JOURNAL`.

The run waits on Prefect's server already, made by the flow that starts this process. How far it is
and how it ended goes into the journal, which that flow follows; the exit status is 0 once its end
is told, whatever that was, so any other status means that the process was lost.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint

from flows.progress import PROGRESS, overheard
from wsi_vit.section import Section
from wsi_vit.tracking.journal import Journal

ENDED = "ended"
"""The kind of the journal's record that holds an `End`."""


class End(Section):
    """How a flow run ended."""

    completed: bool
    message: str
    """What it came to, or why it failed."""
    result: dict[str, Any] | None = None
    """What the flow returned; None where it failed."""

    @classmethod
    def of(cls, state: State[Any]) -> "End":
        """Read it from a final state of this process."""
        found: Any = state.result(raise_on_failure=False)
        if state.is_completed():
            return cls(completed=True, message=state.message or "", result=found)
        reason = f"{type(found).__name__}: {found}" if isinstance(found, Exception) else ""
        return cls(completed=False, message=reason or state.message or state.name or "")


def main(arguments: list[str]) -> int:
    """Run it to its end."""
    entrypoint, run, path = arguments
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(run))
    journal = Journal(Path(path))
    flow: Any = load_flow_from_entrypoint(entrypoint)
    with overheard(partial(journal.append, PROGRESS)):
        state: Any = run_flow(flow, flow_run=flow_run, return_type="state")
    journal.append(ENDED, End.of(state))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
