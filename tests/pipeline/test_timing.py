from pathlib import Path

from wsi_vit.pipeline.run_folder import RunPlace
from wsi_vit.pipeline.timing import time_spent
from wsi_vit.tracking.journal import EPOCH, STEP
from wsi_vit.training.records import Epoch, Validation


def epoch(number: int, *, waited_s: float, busy_s: float) -> Epoch:
    return Epoch(
        number=number,
        step=4 * number,
        train_loss=0.5,
        validation=Validation(loss=0.5, metric="macro_f1", value=0.5, counts=((1, 0), (0, 1))),
        best=True,
        learning_rate=1e-3,
        grad_norm=1.0,
        seconds=10.0,
        images_per_s=4.0,
        data_wait_s=waited_s,
        device_busy_s=busy_s,
        step_images=4,
        micro_batch=4,
        device="cpu",
        precision="fp32",
    )


def test_a_run_says_how_long_it_waited_and_how_long_its_device_worked(tmp_path: Path) -> None:
    journal = RunPlace(tmp_path).journal
    for number, (waited_s, busy_s) in enumerate([(4.0, 5.0), (0.0, 9.0)], start=1):
        journal.append(STEP, {"step": number})
        journal.append(EPOCH, epoch(number, waited_s=waited_s, busy_s=busy_s))
    journal.append(EPOCH, epoch(2, waited_s=1.0, busy_s=8.0))  # told again after a kill

    spent = time_spent(tmp_path)

    assert spent is not None
    assert (spent.seconds, spent.data_wait, spent.device_busy) == (20.0, 0.25, 0.65)
    assert spent.spoken() == "Training took 20 s: data_wait 25.0%, device_busy 65.0%."


def test_a_run_without_an_epoch_says_nothing(tmp_path: Path) -> None:
    assert time_spent(tmp_path) is None
