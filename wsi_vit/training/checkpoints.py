"""Checkpoints that are whole or not believed: safetensors and JSON, named by their digests.

```text
checkpoints/
├── last-00000120/       model.safetensors  optimiser.safetensors  random.safetensors
│                        learning.safetensors (only where `model` is an average: what learns)
│                        state.json  manifest.json (written last: sha256 of every file)
├── last-00000080/       the generation before, read where the newer one is damaged
├── best-00000080/       the same files, of the epoch that validated best
└── best-00000040/
```
A checkpoint is written to a scratch folder, flushed, and renamed; whoever is killed before that
leaves scratch behind, which the next save sweeps. Nothing is pickled.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

from pydantic import Field, ValidationError
from torch import Tensor, nn

from wsi_vit.errors import TrainingError
from wsi_vit.models.model import Model
from wsi_vit.section import Section
from wsi_vit.store import FileEntry, canonical_json, digest_of, file_digest
from wsi_vit.store.files import flush_file
from wsi_vit.training.records import Epoch, Skipped

Kind = Literal["last", "best"]
Tensors = Literal["model", "learning", "optimiser", "random"]
"""The files of tensors in a checkpoint; `model` is what is judged and kept."""

GENERATIONS = 2
MANIFEST = "manifest.json"
_STATE = "state.json"


class RunState(Section):
    """Where a run stands, apart from its tensors."""

    fingerprint: str
    """Digest of what decides the course of the run; a checkpoint of another run is refused."""
    epoch: int = 1
    """The epoch under way, from 1."""
    step: int = 0
    """Its steps that are done."""
    loss_sum: float = 0.0
    """Of its examples so far."""
    norm_sum: float = 0.0
    """Of its gradients so far."""
    images: int = 0
    """Its examples so far."""
    seconds: float = 0.0
    """Of its steps so far."""
    data_wait_s: float = 0.0
    device_busy_s: float = 0.0
    validation_s: float = 0.0
    micro_batch: int
    epochs: tuple[Epoch, ...] = ()
    """Those that are finished."""
    skipped: tuple[Skipped, ...] = ()
    scaler: dict[str, float] = Field(default_factory=dict)
    """Of fp16."""
    random: list[Any] = Field(default_factory=list)
    """What of the generators' state is no tensor."""

    @property
    def best(self) -> Epoch | None:
        """The best finished epoch; of two as good, the earlier."""
        return max(self.epochs, key=lambda epoch: epoch.validation.rank, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose every byte was verified."""

    folder: Path
    state: RunState

    def tensors(self, name: Tensors) -> dict[str, Tensor]:
        """Read one of its files of tensors, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.folder / f"{name}.safetensors")


class _Manifest(Section):
    files: tuple[FileEntry, ...]
    digest: str
    """Of `files`."""


def save_checkpoint(
    folder: Path,
    kind: Kind,
    state: RunState,
    *,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
) -> Path:
    """Write a checkpoint of a run after `step` steps; keep it and the one before it.

    Raises:
        TrainingError: The disk is full, or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    scratch = folder / f".scratch-{uuid4().hex[:8]}"
    try:
        _sweep(folder)
        scratch.mkdir(parents=True)
        for name, group in tensors.items():
            save_file(_storable(group), scratch / f"{name}.safetensors")
        (scratch / _STATE).write_text(state.model_dump_json())
        return _commit(scratch, folder / f"{kind}-{step:08d}")
    except (OSError, SafetensorError) as error:  # safetensors wraps what the system says
        raise _cannot_write(error, folder, tensors) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def keep_as_best(checkpoint: Path) -> Path:
    """Keep a `last` checkpoint as `best` too; the files are shared where the disk can."""
    folder, step = checkpoint.parent, checkpoint.name.removeprefix("last-")
    scratch = folder / f".scratch-{uuid4().hex[:8]}"
    try:
        shutil.copytree(checkpoint, scratch, copy_function=_link)
        return _replace(scratch, folder / f"best-{step}")
    except OSError as error:
        raise _cannot_write(error, folder, {}) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def newest_valid(folder: Path, kind: Kind = "last") -> Checkpoint | None:
    """Return the newest checkpoint whose every byte is as it was written; None without one."""
    return next(_valid(folder, kind), None)


def load_best(model: Model, folder: Path) -> Checkpoint:
    """Give a model the weights of the best epoch; the checkpoint's state says which that was.

    Raises:
        TrainingError: There is no valid checkpoint, or it does not fit the model.
    """
    found = newest_valid(folder, "best")
    if found is None:
        raise TrainingError(
            "No checkpoint of a best epoch can be believed", got=folder, remedy="Train again"
        )
    load_weights(model, found)
    return found


def load_weights(model: Model, checkpoint: Checkpoint) -> None:
    """Give a model the weights of a checkpoint, all of them and no other.

    Raises:
        TrainingError: Names or shapes differ.
    """
    try:
        cast(nn.Module, model).load_state_dict(checkpoint.tensors("model"), strict=True)
    except RuntimeError as error:
        raise TrainingError(
            "The checkpoint does not fit this model",
            got=f"{checkpoint.folder}: {error}",
            remedy="Resume with the recipe it was started with, or train anew",
        ) from error


def forget_after(folder: Path, kept: Checkpoint | None) -> None:
    """Delete what is newer than the checkpoint a run resumes from: it is damaged, or of no use."""
    _sweep(folder)
    for kind in ("last", "best"):
        for path in _generations(folder, kind):
            if kept is None or _step_of(path) > _step_of(kept.folder):
                shutil.rmtree(path)


def verify_checkpoint(folder: Path) -> list[str]:
    """Return what is wrong with a checkpoint; nothing where every byte is as it was written."""
    try:
        text = (folder / MANIFEST).read_text()
        manifest = _Manifest.model_validate_json(text)
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        return [f"{MANIFEST}: {error.__class__.__name__}"]
    if text != canonical_json(manifest) or manifest.digest != digest_of(manifest.files):
        return [f"{MANIFEST}: not as it was written"]
    named = {entry.path: entry.sha256 for entry in manifest.files}
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    faults = [f"{name}: missing or foreign" for name in sorted(named.keys() ^ present)]
    for name in sorted(named.keys() & present):
        if file_digest(folder / name) != named[name]:
            faults.append(f"{name}: not as it was written")
    return faults


def _valid(folder: Path, kind: Kind) -> Iterator[Checkpoint]:
    for path in _generations(folder, kind):
        if not verify_checkpoint(path):
            state = RunState.model_validate_json((path / _STATE).read_text())
            yield Checkpoint(folder=path, state=state)


def _generations(folder: Path, kind: str) -> list[Path]:
    """Return the checkpoints of a kind, newest first."""
    found = [p for p in folder.glob(f"{kind}-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the host; tied ones become two copies, as safetensors wants."""
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _commit(scratch: Path, target: Path) -> Path:
    """Flush all files, write the manifest, and rename the folder to what it shall be."""
    entries: list[FileEntry] = []
    for path in sorted(scratch.iterdir()):
        flush_file(path)
        size = path.stat().st_size
        entries.append(FileEntry(path=path.name, sha256=file_digest(path), bytes=size))
    manifest = _Manifest(files=tuple(entries), digest=digest_of(entries))
    (scratch / MANIFEST).write_text(canonical_json(manifest))
    flush_file(scratch / MANIFEST)
    flush_file(scratch)
    return _replace(scratch, target)


def _replace(scratch: Path, target: Path) -> Path:
    if target.exists():  # a run that was killed behind this step, and came here again
        shutil.rmtree(target)
    scratch.rename(target)
    flush_file(target.parent)
    for old in _generations(target.parent, target.name.partition("-")[0])[GENERATIONS:]:
        shutil.rmtree(old)
    return target


def _sweep(folder: Path) -> None:
    for stale in folder.glob(".scratch-*"):
        shutil.rmtree(stale, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # no hard links on this file system, or none allowed
        shutil.copy2(source, target)


def _cannot_write(
    error: Exception, folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]
) -> TrainingError:
    needed = sum(t.nbytes for group in tensors.values() for t in group.values())
    place = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    free = shutil.disk_usage(place).free
    return TrainingError(
        f"A checkpoint cannot be written: {error}",
        got=f"{folder} ({needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free)",
        remedy="Free space or mend the permissions, then resume; older checkpoints are kept",
    )
