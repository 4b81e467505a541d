"""Measure a model on a split it did not learn from, and write down what was found."""

from collections.abc import Iterator
from pathlib import Path

from wsi_vit.evaluation.anomaly import measure_anomaly
from wsi_vit.evaluation.classification import measure_tiles
from wsi_vit.evaluation.figures import draw_charts
from wsi_vit.evaluation.findings import Findings, MeasuredSet, SplitName
from wsi_vit.evaluation.inference import check_labels
from wsi_vit.evaluation.intervals import FEW_PATIENTS, reason_for_none
from wsi_vit.evaluation.multi_label.measure import measure_labels
from wsi_vit.evaluation.pictures import draw_pictures
from wsi_vit.evaluation.records import REGIONS, AnomalyFound, Evaluation, Score
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.segmentation import measure_masks
from wsi_vit.evaluation.units import one_of, so_many
from wsi_vit.models.anomaly.scorer import ANOMALY, save_scorer
from wsi_vit.models.model import Model
from wsi_vit.store import file_digest


def evaluate_model(
    model: Model,
    dataset: MeasuredSet,
    *,
    split: SplitName = "test",
    section: EvaluationSection | None = None,
    model_folder: Path | None = None,
) -> Evaluation:
    """Measure a model on one split.

    `model_folder` is where its `model.safetensors` lies, which gives the evaluation the digest of
    what was measured. Deterministic: the same model, data and section give the same record.

    Raises:
        ModelError: The model answers another question, or its scores are not finite.
        DatasetError: The split holds no labelled example.
    """
    section = section or EvaluationSection()
    findings = _measure(model, dataset, split, section)
    return _record(findings, dataset, split=split, section=section, folder=model_folder)


def evaluate_run(
    model: Model,
    dataset: MeasuredSet,
    *,
    run: Path,
    split: SplitName = "test",
    section: EvaluationSection | None = None,
) -> Evaluation:
    """Measure the model of a run folder; write its `metrics.json` and `figures/*.png`.

    Where the section asks for an anomaly score, it is fitted too and written beside the weights.

    Raises:
        ModelError: The model answers another question, its scores are not finite, or there are too
            few training examples for an anomaly score.
        DatasetError: The split holds no labelled example.
    """
    section = section or EvaluationSection()
    findings = _measure(model, dataset, split, section)
    evaluation = _record(findings, dataset, split=split, section=section, folder=run / "model")
    found = _fit_anomaly(model, dataset, split=split, section=section, folder=run / "model")
    evaluation = evaluation.model_copy(update={"anomaly": found})
    draw_charts(evaluation, run / "figures")
    draw_pictures(model, dataset.examples(split), findings.found, folder=run / "figures")
    evaluation.write(run / "metrics.json")
    return evaluation


def _fit_anomaly(
    model: Model,
    dataset: MeasuredSet,
    *,
    split: SplitName,
    section: EvaluationSection,
    folder: Path,
) -> AnomalyFound | None:
    """Keep the anomaly score that is asked for beside a model's weights, and no other."""
    if section.anomaly is None:
        (folder / ANOMALY).unlink(missing_ok=True)
        return None
    scorer, found = measure_anomaly(
        model, dataset, split=split, anomaly=section.anomaly, section=section
    )
    save_scorer(scorer, folder)
    return found


def _measure(
    model: Model, dataset: MeasuredSet, split: SplitName, section: EvaluationSection
) -> Findings:
    check_labels(model, dataset.labels, dataset.task)
    measures = {"segmentation": measure_masks, "multi_label": measure_labels}
    return measures.get(dataset.task, measure_tiles)(model, dataset, split, section)


def _record(
    findings: Findings,
    dataset: MeasuredSet,
    *,
    split: SplitName,
    section: EvaluationSection,
    folder: Path | None,
) -> Evaluation:
    names = findings.found.names
    headline = findings.levels[0].score(findings.headline)
    return Evaluation(
        task=dataset.task,
        split=split,
        estimate=dataset.estimate,
        dataset_digest=dataset.digest,
        split_digest=dataset.split_digest,
        model_digest=file_digest(folder / "model.safetensors") if folder else None,
        resamples=section.resamples,
        seed=section.seed,
        examples=len(names),
        slides=len(set(names.slides)),
        patients=len(set(names.patients)),
        unit=dataset.unit,
        background=dataset.labels.background if dataset.task == "segmentation" else None,
        headline=headline,
        interval_reason=reason_for_none(
            names.patients, estimate=dataset.estimate, unit=dataset.unit
        ),
        beats_trivial=_beats(headline, findings),
        levels=findings.levels,
        classes=findings.classes,
        definitions=findings.definitions,
        per_slide=findings.per_slide,
        per_patient=findings.per_patient,
        calibration=findings.calibration,
        roc=findings.roc,
        precision_recall=findings.precision_recall,
        baselines=findings.baselines,
        warnings=tuple(_warnings(findings, dataset, split)),
    )


def _beats(headline: Score, findings: Findings) -> bool:
    """Say whether the headline figure is above every trivial rule's; no rule, no claim."""
    trivial = [rule.value for rule in findings.baselines if rule.value is not None]
    return headline.value is not None and bool(trivial) and headline.value > max(trivial)


def _warnings(findings: Findings, dataset: MeasuredSet, split: SplitName) -> Iterator[str]:
    patients = len(set(findings.found.names.patients))
    if dataset.estimate == REGIONS:
        yield (
            "Training and test tiles are regions of the same patient: these figures are no "
            "estimate on unseen patients, and this model can never be promoted"
        )
    elif patients == 1:
        yield (
            f"One {one_of(dataset.unit)} only: these figures say nothing about how "
            f"{dataset.unit} differ"
        )
    elif patients < FEW_PATIENTS:
        yield (
            f"Only {so_many(patients, dataset.unit)}: intervals from fewer than {FEW_PATIENTS} "
            "are rough, and usually too narrow"
        )
    if split != "test":
        yield f"Measured on the {split} split, which the training has used"
    absent = [row.name for row in findings.classes if not row.support]
    if absent:
        yield f"Not in the truth of this split, so not measured: {', '.join(absent)}"
    if not _beats(findings.levels[0].score(findings.headline), findings):
        yield "No better than a trivial rule on the same examples"
    yield from findings.notes
