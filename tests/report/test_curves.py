from __future__ import annotations

from pathlib import Path

from rwmu.report.run import rounds
from rwmu.report.run.curves import DYNAMICS_PANELS, panels, policy_panels, read_curves


def test_blank_cells_and_broken_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "metrics.csv").write_text("step,train/loss,validation/rollout_error\n0,3.0,\n1,,0.5\n,9.0,\n2,1.0")
    (tmp_path / "metrics.csv").write_text("policy/kl,step\n0.01,7\n")
    assert read_curves(tmp_path) == {
        "train/loss": ([0.0, 2.0], [3.0, 1.0]),
        "validation/rollout_error": ([1.0], [0.5]),
        "policy/kl": ([7.0], [0.01]),
    }


def test_panels_without_a_logged_line_are_left_out() -> None:
    shown = panels({"validation/rollout_error": ([1.0], [0.5])}, DYNAMICS_PANELS)
    assert {title: list(lines) for title, lines in shown.items()} == {"error on validation episodes (std)": ["mean over horizon"]}


def test_a_penalty_that_pays_says_that_it_is_centred() -> None:
    for values, centred in (([-0.2, -0.1], False), ([-0.2, 0.3], True)):
        ((_, lines),) = policy_panels({"imagined/penalty": ([0.0, 1.0], values)}).items()
        ((label, curve),) = lines.items()
        assert ("centred" in label, curve) == (centred, ([0.0, 1.0], values))


def test_steps_that_a_resumed_run_repeats_are_what_was_logged_last(tmp_path: Path) -> None:
    for version, steps in ((9, (0, 1, 2, 3)), (10, (2, 3, 4))):
        folder = tmp_path / f"version_{version}"
        folder.mkdir()
        (folder / "metrics.csv").write_text("step,loss\n" + "".join(f"{step},{version}\n" for step in steps))
    assert read_curves(tmp_path) == {"loss": ([0.0, 1.0, 2.0, 3.0, 4.0], [9.0, 9.0, 10.0, 10.0, 10.0])}


def test_what_ppo_learnt_in_the_simulator_is_ordered_by_what_it_took() -> None:
    behaviour = {
        "expert": {"return": 22.0, "transitions": 4_000_000},
        "poor": {"return": 3.0, "transitions": 2_000_000},
        "own": {"return": 1.0},
    }
    assert rounds.model_free(behaviour) == ([2000.0, 4000.0], [3.0, 22.0])
    figure = rounds.draw([{"real_transitions": 1000, "deployed": {"return": 5.0}}], behaviour)
    assert [line.get_label() for line in figure.axes[2].lines] == ["return", "PPO in the simulator"]
