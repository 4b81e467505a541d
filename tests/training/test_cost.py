"""What training steps cost, measured on models whose arithmetic can be counted by hand."""

import pytest
import torch

from tests.training.small import LABELS, PLAIN, section
from wsi_vit.models.sections import TokenLearnerSection, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.cost import Candidate, Cost, measure_costs

WIDTH, DEPTH, INNER, PATCH, SIDE = 64, 4, 128, 4, 32
PATCHES = (SIDE // PATCH) ** 2


def candidate(learner: TokenLearnerSection | None = None) -> Candidate:
    options = {
        "patch_px": PATCH,
        "width": WIDTH,
        "depth": DEPTH,
        "heads": 4,
        "mlp_width": INNER,
    }
    model = VitSection(
        start=ConfigStart(options=options), input_px=SIDE, pool="mean", token_learner=learner
    )
    return Candidate(model=model, labels=LABELS, training=section(), augmentation=PLAIN)


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    found = measure_costs(
        {
            "plain": candidate(),
            "learner": candidate(TokenLearnerSection(after_block=1, tokens=2)),
        },
        rounds=3,
    )
    assert torch.equal(torch.get_rng_state(), before)
    return found


def block_operations(tokens: int) -> int:
    """Four matrices of attention, two of the MLP, scores and their use: twice a product."""
    return 2 * (tokens * (4 * WIDTH**2 + 2 * WIDTH * INNER) + 2 * tokens**2 * WIDTH)


def test_operations_are_those_that_the_architecture_has(costs: dict[str, Cost]) -> None:
    embedding, head = 2 * PATCHES * 3 * PATCH**2 * WIDTH, 2 * WIDTH * 2
    blocks = DEPTH * block_operations(PATCHES + 1)

    assert costs["plain"].gflops == pytest.approx((embedding + blocks + head) / 1e9, rel=1e-9)


def test_three_blocks_on_three_tokens_cost_less_in_arithmetic_and_time(
    costs: dict[str, Cost],
) -> None:
    assert costs["learner"].gflops < 0.4 * costs["plain"].gflops
    assert sorted(costs["learner"].seconds)[1] < sorted(costs["plain"].seconds)[1]


def test_each_round_has_a_time_and_each_model_a_peak_of_memory(costs: dict[str, Cost]) -> None:
    for cost in costs.values():
        assert len(cost.seconds) == 3
        assert min(cost.seconds) > 0
        assert 1e6 < cost.peak_bytes < 2e9
    assert costs["learner"].parameters > costs["plain"].parameters
