"""Computations as ONNX files: traced from torch, run by onnxruntime, and compared with what they were traced from."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rwmu.errors import CheckpointError, import_extra

OPSET = 18  # as Isaac Lab and mjlab write it
_FORM = "{:.3f}"  # of numbers in metadata, as mjlab writes them


def needed(name: str) -> Any:
    """Import a package of the extra ``onnx``, or say how to install it."""
    return import_extra(name, f"Exporting needs {name}; install it with: pip install 'rwmu[onnx]'")


@dataclass(frozen=True)
class Traced:
    """What becomes a file.

    Attributes:
        module: takes the inputs in their order and returns a tuple of the outputs in theirs.
        inputs: name -> an example. outputs: names.
        rows_axis: name of an input or output -> the axis of its rows, of which there may be any number.
        what: it is, for errors.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    rows_axis: Mapping[str, int]
    what: str

    def to_onnx(self, metadata: Mapping[str, str]) -> bytes:
        """Return the file's content.

        torch's exporter by tracing is used (tried with torch 2.6 and 2.13), not the one by ``torch.export``, which takes ten times
        as long. Either may go wrong without a word, so compare what comes out.

        Raises:
            CheckpointError: it has operations that ONNX lacks.
        """
        onnx, written = needed("onnx"), io.BytesIO()
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the other exporter, and of shapes that are known to be constants
                torch.onnx.export(
                    self.module.eval(),
                    tuple(self.inputs.values()),
                    written,  # type: ignore[arg-type]  # this exporter writes to memory, too
                    opset_version=OPSET,
                    input_names=list(self.inputs),
                    output_names=list(self.outputs),
                    dynamic_axes={name: {axis: "rows"} for name, axis in self.rows_axis.items()},
                    dynamo=False,
                )
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{self.what} cannot be written as ONNX ({_first_line(error)}).") from error
        model = onnx.load_from_string(written.getvalue())
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


class Session:
    """A file's content in onnxruntime, with one thread: called with tensors by name, it returns tensors by name."""

    def __init__(self, content: bytes) -> None:
        runtime = needed("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors alone
        self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Run once."""
        found = self._session.run(self._outputs, {name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
        return {name: torch.from_numpy(array) for name, array in zip(self._outputs, found, strict=True)}


def listed(values: Sequence[Any]) -> str:
    """Return values as metadata hold them, as mjlab writes them: commas between, semicolons within."""

    def entry(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return ";".join(map(entry, value))
        return _FORM.format(value) if isinstance(value, (int, float)) else str(value)

    return ",".join(map(entry, values))


def deviation(found: Tensor, wanted: Tensor) -> float:
    """Return by how much a result is off at most, absolutely or, above 1, relatively; infinite where it is no number."""
    off = (found - wanted).abs() / wanted.abs().clamp(min=1.0)
    return float(off.nan_to_num(nan=torch.inf).max()) if off.numel() else 0.0


def require_alike(what: str, found: float, allowed: float) -> None:
    """Refuse what deviates.

    Raises:
        CheckpointError: one sentence.
    """
    if not found <= allowed:
        raise CheckpointError(
            f"{what} would differ from what torch computes by {found:.2g}, and {allowed:g} is allowed, so it is not written; "
            "please report it."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
