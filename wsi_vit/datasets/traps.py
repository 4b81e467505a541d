"""The known traps of label maps and masks, told from a census of the masks.

What can be told, and what cannot: labels shifted by one show when a listed class is then absent,
when ids lie beyond the source's name list, or when 0 and 255 occur together although that list
begins at 1 (what `reduce_labels` leaves). A shift after which every listed id, and every id beside
it, occurs as well is a relabelling that no count can tell from the truth; the picture of samples,
where the legend names what is tinted, is there for that.
"""

from collections.abc import Iterator

from wsi_vit.datasets.image_targets import TargetReader
from wsi_vit.datasets.mask_census import Census, name_of, some
from wsi_vit.labels import IGNORE_ID, fold

_NOTHING = frozenset({"background", "void", "unlabeled", "unlabelled", "ignore", "ignored"})
"""Names that never stand for a class of interest."""
_ANYTHING_ELSE = _NOTHING | {"other", "others", "rest", "none", ""}
"""Names of id 0 under which lists keep what they have no name for."""

_REDUCED = "`reduce_labels` writes 255 for 0 and moves all else down by one"

_MOST_IGNORED = 0.95
_MOST_WHOLLY_IGNORED = 0.05
_MOSTLY_ONE = 0.95
_RARE = 0.01


def problems_of(census: Census, reader: TargetReader) -> list[str]:
    """Return why these masks, with this label map, must not be trained on.

    Where an image has several labels, pixels that none of them gathers are no fault.
    """
    found = [
        *_unread(census),
        *_unlisted(census, reader),
        *_misuse_of_255(census, reader),
        *_shifted(census, reader),
        *_beyond_the_names(census, reader),
        *_missing(census, reader),
    ]
    if reader.task == "multi_label":
        return [*found, *_named_as_nothing(reader)]
    return [*found, *_background(census, reader), *_nothing_counts(census)]


def warnings_of(census: Census, reader: TargetReader) -> list[str]:
    """Return what to beware of, and what may be meant; of several labels the split's own say."""
    if reader.task == "multi_label":
        return []
    return [*_partly_ignored(census), *_rare(census, reader), *_mostly_one(census, reader)]


def _unread(census: Census) -> Iterator[str]:
    if not census.masks:
        yield "no mask could be read"
    if census.unreadable:
        yield f"{len(census.unreadable)} masks cannot be read: {some(census.unreadable)}"
    if census.changed:
        yield (
            f"{census.changed} pixels do not come back from training and export ids as what the "
            "label map says"
        )


def _unlisted(census: Census, reader: TargetReader) -> Iterator[str]:
    if reader.source.unknown != "refuse":
        return
    strange = [row for row in census.sources if not row.listed and row.source_id != IGNORE_ID]
    if strange:
        told = (f"{_called(row.source_id, reader)} ({row.share:.2%})" for row in strange)
        yield (
            f"the label map does not name {some(told)}: list them, or say "
            "`unknown: background` or `unknown: ignore`"
        )


def _misuse_of_255(census: Census, reader: TargetReader) -> Iterator[str]:
    owner = reader.labels.id_of_source(IGNORE_ID)
    row = next((row for row in census.sources if row.source_id == IGNORE_ID), None)
    others = {row.source_id for row in census.sources} - {IGNORE_ID}
    if owner is not None:
        yield (
            f"{reader.labels.names[owner]} gathers 255, which means ignored everywhere: masks of 0 "
            "and 255 are read with `values: {kind: threshold, above: 127}`"
        )
    elif row is None or IGNORE_ID in reader.ignored:
        return
    elif others <= {0}:
        yield (
            f"masks hold only 0 and 255 ({row.share:.2%} of the pixels), so what is drawn in them "
            "would be ignored: read them with `values: {kind: threshold, above: 127}`"
        )
    elif reader.source.unknown != "ignore":
        yield (
            f"{row.share:.2%} of the pixels are 255, which is ignored, though nothing says so: "
            f"say `ignored: [255]` if that is meant ({_REDUCED})"
        )


def _shifted(census: Census, reader: TargetReader) -> Iterator[str]:
    found = {row.source_id for row in census.sources}
    if IGNORE_ID in found and IGNORE_ID not in reader.ignored and 0 in found and _from_one(reader):
        yield (
            "labels look reduced: 0 and 255 both occur though the source's names begin at 1; "
            f"{_REDUCED}"
        )
        return
    if IGNORE_ID in found and not found <= {0, IGNORE_ID}:  # `reduce_labels` makes 255 of -1
        found = found - {IGNORE_ID} | {-1}
    listed = {n for item in reader.labels.classes for n in item.sources if isinstance(n, int)}
    now = len(listed & found)
    for step, word in ((1, "higher"), (-1, "lower")):
        moved = {number + step for number in listed}
        then = len(moved & found)
        explains = bool(_missing_foreground(census, reader)) or found <= moved
        if then > now and len(listed) - then <= (len(listed) - now) // 4 and explains:
            yield (
                f"labels look shifted by one: of the {len(listed)} ids that classes gather, {now} "
                f"occur, and {then} of those one {word}"
            )


def _beyond_the_names(census: Census, reader: TargetReader) -> Iterator[str]:
    if not reader.names:
        return
    known = set(reader.names.values()) | {0, IGNORE_ID}
    found = [row.source_id for row in census.sources]
    beyond = [number for number in found if number not in known and number not in reader.ignored]
    if beyond:
        yield (
            f"ids that the source's own list of {len(reader.names)} names does not have "
            f"({min(known)} to {max(known - {IGNORE_ID})}): {some(beyond)}"
        )


def _missing(census: Census, reader: TargetReader) -> Iterator[str]:
    for index, row in enumerate(census.classes):
        if not row.pixels:
            asked = [n for n in reader.labels.classes[index].sources if isinstance(n, int)]
            told = f" ({some(_called(number, reader) for number in asked)})" if asked else ""
            yield f"no mask shows {row.name}{told}"


def _named_as_nothing(reader: TargetReader) -> Iterator[str]:
    named_so = [name for name in reader.labels.names if fold(name) in _NOTHING]
    if named_so:
        yield (
            f"{some(named_so)} is by its name background, and is no label: leave it out, and say "
            "`unknown: background`"
        )


def _background(census: Census, reader: TargetReader) -> Iterator[str]:
    labels = reader.labels
    named_so = [name for name in labels.names if fold(name) in _NOTHING]
    counted = [name for name in named_so if name != labels.background]
    if counted:
        yield (
            f"{some(counted)} is by its name background, and counts as a class: "
            f"say `background: {counted[0]}` in the label map"
        )
    if reader.source.unknown == "background" and labels.background is None:
        yield (
            "`unknown: background`, but the label map says no `background`: what it does not name "
            "would be ignored"
        )
    owner = labels.id_of_source(0)
    holds_zero = any(row.source_id == 0 for row in census.sources)
    if owner is None or not holds_zero or not _from_one(reader):
        return
    if labels.names[owner] != labels.background:
        yield (
            f"{labels.names[owner]} gathers 0, which the source has no name for (it stands for "
            "anything else): is it the background?"
        )


def _nothing_counts(census: Census) -> Iterator[str]:
    if census.ignored_share > _MOST_IGNORED:
        yield f"{census.ignored_share:.1%} of the pixels are ignored, so there is nothing to learn"
    if len(census.wholly_ignored) > _MOST_WHOLLY_IGNORED * census.masks:
        yield (
            f"{len(census.wholly_ignored)} of {census.masks} masks are ignored altogether: "
            f"{some(census.wholly_ignored)}"
        )


def _partly_ignored(census: Census) -> Iterator[str]:
    few = len(census.wholly_ignored)
    if 0 < few <= _MOST_WHOLLY_IGNORED * census.masks:
        yield f"{few} masks are ignored altogether: {some(census.wholly_ignored)}"


def _rare(census: Census, reader: TargetReader) -> Iterator[str]:
    rare = [r for r in census.classes if 0 < r.share < _RARE and r.name != reader.labels.background]
    if rare:
        told = (f"{row.name} ({row.share:.2%})" for row in rare)
        yield f"rare classes: {some(told)}; weigh classes or sample for them, and judge by IoU"


def _mostly_one(census: Census, reader: TargetReader) -> Iterator[str]:
    for row in census.classes:
        if row.share > _MOSTLY_ONE and row.name == reader.labels.background:
            yield f"{row.share:.1%} is {row.name}: judge by IoU, not by accuracy"
        elif row.share > _MOSTLY_ONE:
            yield f"{row.share:.1%} is {row.name}: is it the background? The label map says not"


def _missing_foreground(census: Census, reader: TargetReader) -> list[str]:
    return [r.name for r in census.classes if not r.pixels and r.name != reader.labels.background]


def _from_one(reader: TargetReader) -> bool:
    """Say whether the source's names begin at 1, and 0 is what has no name of its own."""
    named = {n for name, n in (reader.names or {}).items() if n or fold(name) not in _ANYTHING_ELSE}
    return min(named, default=0) == 1


def _called(number: int, reader: TargetReader) -> str:
    return f"{number} {name_of(number, reader)}".strip()
