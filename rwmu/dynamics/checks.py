"""Say by name what does not fit where windows and weights are plugged into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rwmu.data.normalizer import Normalizer
from rwmu.errors import CheckpointError, DataError
from rwmu.interfaces import Dynamics
from rwmu.records import Batch, Noise, Prediction, Window


def predicted_extension(followed: Prediction, normalizer: Normalizer | None, names: Sequence[str]) -> Tensor:
    """Return the extension ``[B, X]`` that the followed members predict (``[1, B, X]``), in its own units.

    Raises:
        CheckpointError: the model predicts other columns than those named.
    """
    predicted = 0 if followed.extension is None else followed.extension.shape[-1]
    if followed.extension is None or normalizer is None or predicted != len(names):
        raise CheckpointError(
            f"The task's rewards ask for {', '.join(names)}, but the world model predicts an extension of {predicted} columns; "
            "train one on data that have them."
        )
    return normalizer.denormalize(followed.extension[0])


def check_batch(dynamics: Dynamics, batch: Batch, history: int) -> None:
    """Refuse a batch whose tensors do not fit the model or one another.

    Raises:
        DataError: names the tensor, the expected and the found shape.
    """
    window = batch.window
    check_window(dynamics, window, history)
    members, size, length = dynamics.num_members, *window.state.shape[1:3]
    for name, columns in (("contact", dynamics.contact_dim), ("termination", 1)):
        refuse_shape(name, getattr(window, name), (None, size, length, columns))
    extension_dim = getattr(dynamics, "extension_dim", 0)  # 0 for models that know nothing of extensions
    if extension_dim:
        if window.extension is None:
            raise DataError(f"The windows have no extension, but the model predicts one of {extension_dim} columns.")
        refuse_shape("extension", window.extension, (None, size, length, extension_dim))
    if batch.rows is not None:
        refuse_shape("rows", batch.rows, (members, None))
        if window.state.shape[0] != 1:
            raise DataError("rows choose from windows that all members have in common, but these are each member's own.")
        if batch.rows.device.type == "cpu" and not 0 <= int(batch.rows.min()) <= int(batch.rows.max()) < size:
            raise DataError(f"rows choose windows {int(batch.rows.min())}..{int(batch.rows.max())} of a batch of {size}.")
    if batch.weight is not None:
        refuse_shape("weight", batch.weight, (members, batch.num_rows))


def check_noise(dynamics: Dynamics, batch: Batch, noise: Noise, forecast: int, scored_history: int) -> None:
    """Refuse noise that is not drawn for every step, member and row: too little of it would be shared without a word.

    Args:
        forecast: K. scored_history: R; with 0, the noise of the history is not used.

    Raises:
        DataError: names the tensor, the expected and the found shape.
    """
    shape = (dynamics.num_members, batch.num_rows, dynamics.state_dim)
    for name, steps in (("feedback", forecast), ("loss", forecast), ("history", scored_history)):
        drawn = getattr(noise, name)
        if steps and drawn is not None:
            refuse_shape(f"noise.{name}", drawn, (steps, *shape))


def check_window(dynamics: Dynamics, window: Window, history: int) -> None:
    """Refuse windows ``[M, B, T, .]`` that do not fit the model, or that end before a forecast after ``history`` rows begins.

    Raises:
        DataError: names the tensor, the expected and the found shape.
    """
    if window.state.ndim != 4:
        raise DataError(
            f"state has shape {list(window.state.shape)}, but [members or 1, batch, rows, {dynamics.state_dim}] was expected."
        )
    members, batch, length = window.state.shape[:3]
    if members not in (1, dynamics.num_members):
        raise DataError(f"state has rows of {members} members, but the model has {dynamics.num_members} (1 for common rows).")
    refuse_shape("state", window.state, (None, batch, length, dynamics.state_dim))
    refuse_shape("action", window.action, (members, batch, length, dynamics.action_dim))
    if not window.state.is_floating_point() or window.state.dtype != window.action.dtype:
        raise DataError(f"state is of {window.state.dtype} and action of {window.action.dtype}; both must be of one floating type.")
    if not 1 <= history < length:
        raise DataError(
            f"a window of {length} rows has no forecast after a history of {history}; it needs at least {history + 1} rows."
        )


def check_finite(window: Window) -> None:
    """Refuse windows with values that are no numbers.

    Raises:
        DataError: names the tensor and the first place.
    """
    for name, tensor in vars(window).items():
        if tensor is not None and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            place = (~tensor.isfinite()).nonzero()[0].tolist()
            raise DataError(f"{name} has the value {float(tensor[tuple(place)])} at {place} (member, window, row, column).")


def check_sizes(architecture: Mapping[str, Any], found: Mapping[str, Any], source: str) -> None:
    """Refuse declared sizes that the stored weights cannot have, before even the shapes of such a model are built.

    Args:
        architecture: constructor arguments. found: the weights. source: how the error names the file.

    Raises:
        CheckpointError: names the size.
    """
    shapes = [tensor.shape for tensor in found.values() if isinstance(tensor, Tensor)]
    entries = sum(shape.numel() for shape in shapes)
    members = architecture.get("num_members")
    if isinstance(members, int) and members > 1 and members not in [shape[0] for shape in shapes if len(shape)]:
        raise CheckpointError(f"{source} declares num_members {members!r}, but has no weights of so many.")
    for name, size in architecture.items():
        most = len(shapes) if name == "num_layers" else entries
        if name != "seed" and isinstance(size, int) and size > most:
            raise CheckpointError(f"{source} declares {name} {size}, but its {len(shapes)} tensors have only {entries} entries.")


def check_state_dict(own: Mapping[str, Tensor], found: Mapping[str, Any], source: str) -> None:
    """Refuse weights that are not those of the model.

    Args:
        own: the model's. found: the file's. source: how the error names the file.

    Raises:
        CheckpointError: names the tensor, and the expected and the found shape.
    """
    for name, tensor in own.items():
        if name not in found:
            raise CheckpointError(f"{source} lacks the tensor '{name}' of shape {list(tensor.shape)}.")
        if not isinstance(found[name], Tensor) or found[name].shape != tensor.shape:
            shape = list(found[name].shape) if isinstance(found[name], Tensor) else type(found[name]).__name__
            raise CheckpointError(f"{source} has the tensor '{name}' of shape {shape}, but {list(tensor.shape)} was expected.")
        if not bool(torch.isfinite(found[name]).all()):
            raise CheckpointError(
                f"{source} has values in the tensor '{name}' that are no finite numbers; its training has failed."
            )
    unknown = sorted(set(found) - set(own))
    if unknown:
        raise CheckpointError(f"{source} has the tensor '{unknown[0]}', which its architecture has no place for.")


def refuse_shape(name: str, tensor: Tensor, expected: tuple[int | None, ...]) -> None:
    """Refuse a tensor of another shape; None stands for any size."""
    fits = tensor.ndim == len(expected) and all(want in (None, got) for want, got in zip(expected, tensor.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise DataError(f"{name} has shape {list(tensor.shape)}, but [{wanted}] was expected.")
