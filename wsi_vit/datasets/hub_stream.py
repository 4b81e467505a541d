"""Sets of the hub that are no parquet files: rows drawn once, and kept as a local copy.

`datasets` streams image folders, archives (webdataset), JSON lines and more without running a
script. What it yields is written as parquet, in its order, whole or not at all, and read from
there ever after.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from wsi_vit.datasets.parquet import parts_in
from wsi_vit.errors import DatasetError
from wsi_vit.store.hub import NotOnThisMachine, Repository, refuse_offline

_ROWS_A_GROUP = 100


def drawn(wanted: Repository, config: str | None) -> Path:
    """Return the copy that was drawn of a set, drawing it where there is none.

    It lies below HF_HOME, in `wsi-vit/`; a branch that moved on is drawn anew once that folder is
    deleted.

    Raises:
        NotOnThisMachine: There is no copy, and the hub is out of reach or does not know the set.
        DatasetError: The rows cannot be kept.
    """
    from huggingface_hub import constants

    name = re.sub(r"[^\w.-]+", "--", "--".join(filter(None, [wanted.id, wanted.revision, config])))
    folder = Path(constants.HF_HOME) / "wsi-vit" / name
    if parts_in(folder):
        return folder
    refuse_offline()
    lists = wanted.folder(lambda found: any(found.glob("*id2label.json")))
    keep_rows(wanted.id, folder, config=config, revision=wanted.revision, lists=lists)
    return folder


def keep_rows(
    name: str,
    folder: Path,
    *,
    config: str | None = None,
    revision: str | None = None,
    lists: Path | None = None,
) -> None:
    """Draw every row of a set, by id or folder, into parquet files below a folder.

    `lists` is a folder whose name lists are copied beside them.

    Raises:
        NotOnThisMachine: The set cannot be drawn to its end.
        DatasetError: It does not say what its columns are.
    """
    from datasets import load_dataset

    scratch = folder.with_name(f".{folder.name}.{uuid4().hex}")
    (scratch / "data").mkdir(parents=True)
    try:
        splits = load_dataset(name, name=config, revision=revision, streaming=True)
        for split, rows in splits.items():
            _keep_split(rows, scratch / "data" / f"{split}-00000-of-00001.parquet")
        for path in lists.glob("*id2label.json") if lists else ():
            shutil.copy(path, scratch)
        scratch.rename(folder)
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise NotOnThisMachine(f"{name} cannot be drawn: {first}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep_split(rows: Any, path: Path) -> None:
    from datasets.table import embed_table_storage

    if rows.features is None:
        raise DatasetError(
            "The set does not say what its columns are",
            got=path.stem,
            remedy="Fetch its files and read them with `kind: folder`",
        )
    schema = rows.features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for columns in _batches(rows.decode(enable=False)):
            table = pa.Table.from_pydict(dict(columns), schema=schema)
            writer.write_table(embed_table_storage(table), row_group_size=_ROWS_A_GROUP)


def _batches(rows: Any) -> Iterator[Mapping[str, Any]]:
    return rows.iter(batch_size=_ROWS_A_GROUP)
