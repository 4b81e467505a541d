"""The `wsi-vit` command: one verb a stage, no logic of its own.

Exit codes: 0 all well, 1 failed, 2 a mistake in what was asked, 3 finished with quarantined slides.
Further verbs are found through the entry-point group `wsi_vit.commands` (the flows bring theirs).
"""

import gc
import sys

from wsi_vit import console
from wsi_vit.cli import data, explaining, keeping, learning, looking, models
from wsi_vit.cli.verbs import app
from wsi_vit.errors import WsiVitError

_OBJECTS_A_SEARCH = 50_000
"""New objects after which Python looks for garbage that refers to itself. At its own 700 that takes
a twelfth of the time in which a slide is tiled; nothing here leaves much of such."""

__all__ = ["app", "data", "explaining", "keeping", "learning", "looking", "main", "models"]


def main() -> None:
    """Run the command line; each error of ours is one message and an exit code."""
    gc.set_threshold(_OBJECTS_A_SEARCH)
    if not _is_own(sys.argv[1:2]):
        _add_verbs()
    try:
        app()
    except WsiVitError as error:
        sys.exit(console.exit_code(error))
    except KeyboardInterrupt:
        console.warn("Interrupted; finished work is kept, so the same command goes on from here.")
        sys.exit(130)


def _is_own(words: list[str]) -> bool:
    """Say whether the first word is a verb of this package: others need not be looked for then."""
    verbs = {command.callback.__name__ for command in app.registered_commands if command.callback}
    return bool(words) and words[0] in verbs | {group.name for group in app.registered_groups}


def _add_verbs() -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group="wsi_vit.commands"):
        entry.load()(app)
