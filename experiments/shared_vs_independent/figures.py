"""The study's figures: pure functions from the gathered results to matplotlib figures; None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from experiments.shared_vs_independent.figures_comparison import differences, policies_over_weights
from experiments.shared_vs_independent.figures_estimates import estimates
from experiments.shared_vs_independent.figures_models import coverage, diversity, falls, ranking
from experiments.shared_vs_independent.gather import Gathered

FIGURES: dict[str, Callable[[Gathered], Figure | None]] = {
    "differences": differences,
    "policies": policies_over_weights,
    "ranking": ranking,
    "estimates": estimates,
    "falls": falls,
    "coverage": coverage,
    "diversity": diversity,
}
CAPTIONS = {
    "differences": (
        "Paired differences in what the rule compares, also of models and data that it does not look at; whiskers are 95 % "
        "intervals, here and in all figures. Shaded: the rule's four criteria; dashed: their margin. Returns are relative, each "
        "model's at its best raw weight. A hollow point has no interval: it rests on fewer than five seeds, or on fewer than "
        "five falls."
    ),
    "policies": (
        "What the policies earn more than the clone that they start from, over the same seeds and episodes, and how often they "
        "fall. A gain over fewer than five seeds has no interval."
    ),
    "ranking": (
        "Rank correlation of disagreement with error at a step, each model alone. All are tested on the same episodes, so models "
        "whose whiskers overlap may still differ for sure: paired differences are in [differences.png](figures/differences.png)."
    ),
    "estimates": (
        "Does disagreement know anything that a single model's own predicted noise does not? Left: how well either ranks errors; "
        "right: how well either foresees falls, beside the termination head, which is trained to. The noise is the mean of what "
        "the members predict. Only models and seeds whose noise has been measured; each estimate alone, on the same episodes."
    ),
    "falls": (
        "AUROC of the disagreement for a fall within so many steps, on an axis from chance (0.5) to 1. Grey: test episodes with "
        "fewer than five falls, whose intervals are not to be trusted."
    ),
    "coverage": (
        "Share of the errors inside 68.3 % intervals of sampled trajectories, all dimensions together, on an axis from 0.5 on. "
        "*raw*: as they are. The others are recalibrated on the calibration split, field by field: *constant*, by one factor; "
        "*per horizon*, by one for each step ahead; *isotonic*, by a function of the spread that does not decrease; *conformal*, "
        "by the factor for each step with which intervals hold that share."
    ),
    "diversity": (
        "How alike the five members are one step ahead, and how many members of independent errors their average is worth; each "
        "model on the test episodes of its own data. The axes go from one extreme to the other."
    ),
}
