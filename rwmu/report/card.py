"""The card of what has been trained: a README in Markdown for somebody who was not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rwmu.report.questions import Verdict
from rwmu.report.wording import listed, number_of

SMOKE = (
    "> **A smoke run.** It shows that everything runs, in seconds, and has learnt nothing. Its files are for trying tools out, "
    "not for a robot."
)
_FILES = {
    "policy.onnx": "the policy: `obs` to `actions`, with mjlab's metadata",
    "policy.pt": "the same as TorchScript, as Isaac Lab's exporter writes it",
    "leapp/policy.yaml": "the policy as a LEAPP graph: sensors to joint targets, by the names of Isaac Lab's scene",
    "world_model.onnx": "one step of the world model's members, with names and calibration in the metadata",
    "checkpoints/policy.pt": "the policy as rsl-rl's checkpoint, to be trained on or played by Isaac Lab and mjlab",
    "checkpoints/dynamics.pt": "the world model as rwmu keeps it",
    "card.json": "what stands here, and more (rewards, gains, limits, calibration), for programs",
}
_WITHIN = {"policy": "actions within", "world_model": "predictions (of 100 steps, in standard deviations) within"}
_ROLES = {"policy": "policy", "world_model": "world model"}


def text(card: Mapping[str, Any], answers: Sequence[Verdict]) -> str:
    """Return the card of what :func:`rwmu.runs.release.facts` tells; answers that nobody knows are left out."""
    there = [words for part, words in _ROLES.items() if card[part] is not None]
    parts = [
        f"# {card['name']}: {listed(there)} for {card['robot']}",
        *([SMOKE] if card["smoke"] else []),
        "## How well it does",
        _answered(answers),
        "## Load it",
        _loading(card),
        "## Files",
        _table(["file", "what"], [[f"`{name}`", what] for name, what in _FILES.items() if name in (*card["files"], "card.json")]),
        "## Robot and task",
        _task(card),
        *(["## The world model as ONNX", _world_model(card["world_model"])] if card["world_model"] else []),
        "## Where it comes from",
        _table(["", ""], _provenance(card)),
    ]
    return "\n\n".join(parts) + "\n"


def _answered(answers: Sequence[Verdict]) -> str:
    known = [f"- **{answer.question}** {answer.answer}" for answer in answers if answer.tone != "unknown"]
    beside = "Measured in simulation alone: nothing here has moved a real robot."
    return "\n".join([*known, "", beside]) if known else f"Nothing of it was measured. {beside}"


def _loading(card: Mapping[str, Any]) -> str:
    lines = ["import rwmu", "", 'found = rwmu.load("path/to/this/folder")  # runs no code that lies in it']
    if card["policy"] is not None:
        sizes = f"[B, {card['policy']['observations']}] -> [B, {card['policy']['actions']}]"
        lines.append(f"action = found.policy(observation)  # {sizes}")
    if card["world_model"] is not None:
        lines.append(f"forecast = found.world_model.rollout(history, actions)  # after {card['world_model']['history']} true rows")
    parts = ["\n".join(["```python", *lines, "```"])]
    if card["policy"] is not None:
        session = [
            "import numpy as np",
            "import onnxruntime",
            "",
            'session = onnxruntime.InferenceSession("policy.onnx")',
            f'(actions,) = session.run(["actions"], {{"obs": np.zeros((1, {card["policy"]["observations"]}), np.float32)}})',
        ]
        parts += ["Without rwmu and torch:", "\n".join(["```python", *session, "```"])]
    return "\n\n".join(parts)


def _task(card: Mapping[str, Any]) -> str:
    task, robot = card["task"], card["task"]["robot"]
    rows = [
        ["robot", card["robot"]],
        ["joints, in this order", ", ".join(robot["joint_names"])],
        ["joint targets, rad", "default posture + action scale × action"],
        ["default posture, rad", _numbers(robot["default_joint_pos"])],
        ["action scale, rad", _numbers(robot["action_scale"])],
        [
            "stiffness, N m/rad; damping, N m s/rad",
            f"{_numbers(card['motors']['stiffness'])}; {_numbers(card['motors']['damping'])}",
        ],
        ["control step", f"{task['step_dt']:g} s"],
        ["commands, up to", "{:g} m/s forwards, {:g} m/s sideways, {:g} rad/s".format(*task["command_range"])],
    ]
    observed = _table(["observation, in this order", "columns", "unit"], [list(map(str, field)) for field in task["observation"]])
    return f"{_table(['', ''], rows)}\n\n{observed}"


def _numbers(value: Any) -> str:
    """Return a number, or several with commas; one where all are the same."""
    several = value if isinstance(value, list) else [value]
    return ", ".join(f"{number:g}" for number in (several[:1] if len(set(several)) == 1 else several))


def _world_model(model: Mapping[str, Any]) -> str:
    """Say how the graph is called, and what stands in its columns."""
    members, columns = model["members"], sum(size for _, size, _ in model["layout"])
    state = ", ".join(f"{name} ({size}, {unit})" for name, size, unit in model["layout"])
    return (
        f"{number_of(members, 'member')} of kind `{model['kind']}`, one step a call. It takes `state [{members}, rows, {columns}]` "
        f"(each member's own), the `action [rows, {model['actions']}]` taken there, and the parts of the carry, `carry_...`, which "
        f"are zero before the first row. Feed {number_of(model['history'], 'true row')} first, then each member's `mean`. It "
        "returns `mean` and `log_std` of the next state, the probabilities `contact` and `termination`, and the next carry, "
        f"`next_carry_...`. All is in physical units.\n\nState: {state}.\n\nContacts: {', '.join(model['contacts'])}."
    )


def _provenance(card: Mapping[str, Any]) -> list[list[str]]:
    versions = {name: version for name, version in card["versions"].items() if version}
    changed = ", with changes that were not committed" if card["changed_since_commit"] else ""
    off = {part: f"{words} {card[part]['deviation']:.1g}" for part, words in _WITHIN.items() if card[part] is not None}
    return [
        ["experiment, seed", f"{card['name']}, {card['seed']}"],
        ["run", f"`{card['run']}`, {card['date']}"],
        ["data (SHA-256)", f"`{card['data_hash'] or 'not known'}`"],
        *([["weights of the world model (SHA-256)", f"`{card['world_model']['hash']}`"]] if card["world_model"] else []),
        ["commit of rwmu", f"`{card['commit'] or 'not known'}`{changed}"],
        ["versions", ", ".join(f"{name} {version}" for name, version in versions.items())],
        ["ONNX compared with torch", f"on {card['compared_on']}: {listed(off.values())}"],
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
