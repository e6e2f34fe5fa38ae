"""Make reference files of other sizes and seeds, with the plain implementation (which the recorded numbers vouch for)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.benchmarks.plain import PlainEnsemble, Rows, Sizes
from tests.reference import load, load_names

Arrays = dict[str, NDArray[np.generic]]
_PUBLISHED = (
    ("base.", "base.memory.rnn."),
    (".mean.", ".state_mean_layers."),
    (".log_std.", ".state_logstd_layers."),
    (".min_log_std", ".state_min_logstd"),
    (".log_delta_log_std", ".state_log_delta_logstd"),
    (".contact.", ".contact_layers."),
    (".termination.", ".termination_layers."),
)


def published_name(name: str) -> str:
    """Return the published name of a parameter of the plain implementation."""
    for own, published in _PUBLISHED:
        name = name.replace(own, published)
    return name


def dynamics_file(sizes: Sizes, batch: int, future: int, seed: int) -> Arrays:
    """Return the arrays of a dynamics file of random weights and inputs, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PlainEnsemble(sizes).double()
        steps = sizes.history + sizes.forecast
        flags = (torch.randint(2, (batch, steps, columns)).double() for columns in (sizes.contact, 1))
        rows = Rows(*(torch.randn(batch, steps, columns).double() for columns in (sizes.state, sizes.action)), *flags)
        bootstrap = torch.randint(batch, (sizes.members, batch))
        members = torch.randint(sizes.members, (batch,))
        future_action = torch.randn(batch, future, sizes.action).double()
        arrays = {f"weights/{published_name(name)}": tensor for name, tensor in model.state_dict().items()}
        arrays |= rows._asdict() | {"bootstrap_ids": bootstrap, "rollout/future_action": future_action}
        arrays |= {"history_horizon": torch.tensor(sizes.history), "rollout_member/member_ids": members}
        for mode in ("mse", "gaussian_nll"):
            arrays |= {f"{mode}/{name}": tensor for name, tensor in _objective(mode, model, rows, bootstrap).items()}
    for name, followed in (("rollout", None), ("rollout_member", members)):
        arrays |= {f"{name}/{quantity}": tensor for quantity, tensor in _rollout(model, rows, future_action, followed).items()}
    return {name: tensor.detach().numpy() for name, tensor in arrays.items()}


def _objective(mode: str, model: PlainEnsemble, rows: Rows, bootstrap: Tensor) -> dict[str, Tensor]:
    draws = []

    def draw(like: Tensor) -> Tensor:
        draws.append(torch.randn_like(like))
        return draws[-1]

    if mode == "mse":
        losses = model.losses(rows, bootstrap, draw)
    else:
        each = [_likelihood_losses(model, member, rows.take(own), draw) for member, own in enumerate(bootstrap)]
        losses = torch.stack(each)
    model.zero_grad()
    losses.mean(dim=0).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {
        f"grad/{published_name(name)}": torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }
    return {"member_losses": losses, "noise": torch.stack(draws), **gradients}


def _likelihood_losses(model: PlainEnsemble, member: int, rows: Rows, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``[4]`` as :meth:`PlainEnsemble.member_losses`, with PyTorch's Gaussian likelihood in the squared error's place."""
    heads, auxiliary_heads = model.state_heads[member], model.auxiliary_heads[member]
    history = model.sizes.history
    state, inputs, losses = rows.state[:, history - 1], rows.state, []
    for t in range(history, history + model.sizes.forecast):  # everything anew from the first row, for every step
        true = torch.cat([rows.state[:, :t], rows.action[:, 1 : t + 1]], dim=-1)
        fed_back = torch.cat([state, rows.action[:, t]], dim=-1)[:, None]
        inputs = true if t == history else torch.cat([inputs, fed_back], dim=1)
        mean, log_std = heads(model.state_base(inputs)[0][:, -1], state)
        contact, termination = auxiliary_heads(model.auxiliary_base(true)[0][:, -1])
        losses.append(
            torch.stack(
                [
                    nn.GaussianNLLLoss()(mean, rows.state[:, t], log_std.exp().square()),
                    heads.bound(),  # type: ignore[operator]
                    nn.BCEWithLogitsLoss()(contact, rows.contact[:, t]),
                    nn.BCEWithLogitsLoss()(termination, rows.termination[:, t]),
                ]
            )
        )
        state = mean + log_std.exp() * draw(mean)
    return torch.stack(losses).mean(dim=0)


@torch.no_grad()
def _rollout(model: PlainEnsemble, rows: Rows, future_action: Tensor, member: Tensor | None) -> dict[str, Tensor]:
    """Return ``[B, K, .]`` each: the mean over members fed back, or each row following its ``member``."""
    history = model.sizes.history
    state, action = rows.state[:, :history], rows.action[:, 1 : history + 1]
    everyone = torch.arange(len(state))
    hidden, steps = None, []
    for k in range(future_action.shape[1]):
        outputs = model.predict(state, action, hidden)
        hidden = outputs.hidden
        step = {"epistemic": torch.zeros(len(state)).double(), "aleatoric": outputs.log_std.exp().mean(dim=0).sum(-1)}
        if model.sizes.members > 1:
            step["epistemic"] = outputs.mean.std(dim=0).sum(-1)
        quantities = {"mean": outputs.mean, "contact_logits": outputs.contact, "termination_logits": outputs.termination}
        step |= {name: of.mean(0) if member is None else of[member, everyone] for name, of in quantities.items()}
        state, action = step["mean"][:, None], future_action[:, k : k + 1]
        steps.append(step)
    return {name: torch.stack([step[name] for step in steps], dim=1) for name in steps[0]}


# -- imagined reward ----------------------------------------------------------------------------------------------------------

REWARD = "anymal_d_imagined_reward"
TERMS = load_names(REWARD, "weight_names")


def reward_file(steps: int, environments: list[int], step_dt: float = 0.02, weight: float = 1.0, penalty: float = -1.0) -> Arrays:
    """Return the recorded rewards of fewer steps (the first) and some environments, with other weights, penalty or step.

    The terms are the recorded ones but for the two that depend on the step, which are worked out here.
    """
    file = load(REWARD)
    constant = ("weights", "step_dt", "uncertainty_penalty_weight", "command")
    cut = {name: tensor if name in constant else tensor[:steps, environments] for name, tensor in file.items()}
    cut["command"] = file["command"][environments]
    cut["step_dt"], cut["weights"] = torch.tensor(step_dt, dtype=torch.double), weight * file["weights"]
    cut["uncertainty_penalty_weight"] = torch.tensor(penalty, dtype=torch.double)
    cut["term_corrected/dof_acc_l2"] = cut["term_corrected/dof_acc_l2"] * (0.02 / step_dt) ** 2
    if step_dt != 0.02:
        cut["term/feet_air_time"] = air_time(cut["contact_logits"][..., 4:] > 0.0, cut["command"], step_dt)
    terms = [cut.get(f"term_corrected/{name}", cut[f"term/{name}"]) for name in TERMS]
    total = sum(w * term for w, term in zip(cut["weights"], terms, strict=True)) + penalty * cut["epistemic"]
    cut["reward_corrected"] = step_dt * total
    return {name: tensor.numpy() for name, tensor in cut.items()} | {"weight_names": np.array(TERMS)}


def air_time(contact: Tensor, command: Tensor, step_dt: float) -> Tensor:
    """Reward a foot one step after it touched down with the time that it was in the air, less half a second."""
    steps, environments, feet = contact.shape
    term = torch.zeros(steps, environments, dtype=torch.double)
    for b in range(environments):
        if float(command[b, :2].norm()) <= 0.1:
            continue
        for foot in range(feet):
            airborne = 0  # steps before this one
            for t in range(steps - 1):
                touched_down = bool(contact[t, b, foot]) and (t == 0 or not bool(contact[t - 1, b, foot]))
                if touched_down:
                    flown = (airborne + 1) * step_dt if airborne else 0.0
                    term[t + 1, b] += flown - 0.5
                airborne = 0 if bool(contact[t, b, foot]) else airborne + 1
    return term


def tampered(arrays: Arrays, name: str, change: float) -> Arrays:
    """Return the arrays with ``change`` added to the first element of one of them."""
    changed = arrays[name].copy()
    changed.reshape(-1)[0] += change
    return {**arrays, name: changed}
