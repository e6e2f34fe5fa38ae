"""A pretended accelerator: tensors that are said to be on CUDA, and mistakes about devices that stop as they would there.

Everything is computed on the CPU. Within :func:`pretended_device` every storage has a device: that which ``.to``, ``.cuda`` or a
factory's ``device`` gave it, or that of the tensors it was computed from. ``Tensor.device`` tells it, and an operation that CUDA
would refuse raises :class:`WrongDevice`: tensors of both devices in one operation (a single 0-dimensional CPU tensor may stand
beside others in an element-wise one, and CPU indices may index a device tensor), a CPU generator for a device tensor, ``numpy`` of
one. Copies between devices, ``.item()`` and ``.tolist()`` pass.

:func:`waits` counts where a real device would be waited for.

Not covered: kernels (their rounding, their errors, types that they lack), the device's own random stream (it is the CPU's here),
memory, and gradients through a copy between devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_aten = torch.ops.aten
_BETWEEN_DEVICES = {_aten.copy_, _aten._foreach_copy_}
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index}
_WITH_SCALARS = {_aten.fill_, _aten.masked_fill, _aten.masked_fill_}  # besides all that are element-wise
_WAITING = {_aten._local_scalar_dense, _aten.nonzero, _aten._unique2, _aten.masked_select, _aten.equal, _aten.bincount}
_waits: list[str] = []

# Storages of the pretended device, by address; a weak reference keeps the address from being given to another storage.
_tagged: dict[int, StorageWeakRef] = {}
_purge_at = 1024


_GROUP = torch._C._group_tensors_by_device_and_dtype
_ANSWERS: dict[Any, Callable[[bool], Any]] = {
    torch.Tensor.device.__get__: lambda on: DEVICE if on else _CPU,  # type: ignore[attr-defined]
    torch.Tensor.is_cuda.__get__: lambda on: on,  # type: ignore[attr-defined]
    torch.Tensor.is_cpu.__get__: lambda on: not on,  # type: ignore[attr-defined]
}


class WrongDevice(RuntimeError):
    """Report what CUDA would refuse."""


def on_device(tensor: Tensor) -> bool:
    """Return whether a tensor is on the pretended device."""
    return tensor.untyped_storage()._cdata in _tagged


def _place(tensor: Tensor, on: bool) -> None:
    global _purge_at
    storage = tensor.untyped_storage()
    if not on:
        _tagged.pop(storage._cdata, None)
        return
    if len(_tagged) >= _purge_at:
        for address in [address for address, reference in _tagged.items() if reference.expired()]:
            del _tagged[address]
        _purge_at = 2 * len(_tagged) + 1024
    _tagged.setdefault(storage._cdata, StorageWeakRef(storage))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storages(tensors: Iterable[Tensor]) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in tensors}


def _refuse_generators(func: Any, *arguments: Any) -> None:
    if any(isinstance(leaf, torch.Generator) and leaf.device.type == "cpu" for leaf in tree_leaves(arguments)):
        raise WrongDevice(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")


class _Places(TorchFunctionMode):
    """Answer what Python asks of devices."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _ANSWERS:
            return _ANSWERS[func](on_device(args[0]))
        if func is torch.Tensor.tolist and on_device(args[0]):
            _waits.append("tolist")
        if func in (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda):
            return self._move(func, *args, **kwargs)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and on_device(args[0]):
            raise WrongDevice("can't convert cuda:0 device type tensor to numpy")
        if kwargs.get("device") is None:
            result = func(*args, **kwargs)
            if func is torch.Tensor.new_tensor:
                _place(result, on_device(args[0]))
            return result
        on = torch.device(kwargs["device"]).type != "cpu"
        if on:
            _refuse_generators(func, args, kwargs)
        result = func(*args, **{**kwargs, "device": _CPU})
        if isinstance(result, Tensor):
            if _storages([result]) & _storages(t for t in _tensors((args, kwargs)) if on_device(t) != on):
                result = result.clone()  # as_tensor of a tensor from elsewhere
            _place(result, on)
        return result

    @staticmethod
    def _move(func: Callable[..., Any], tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = [*args, *kwargs.values()]
        places = [torch.device(entry) for entry in given if isinstance(entry, str | torch.device)]
        like = [entry for entry in given if isinstance(entry, Tensor)]
        dtypes = [entry for entry in given if isinstance(entry, torch.dtype)] + [other.dtype for other in like]
        if func is torch.Tensor.to:
            on = places[0].type != "cpu" if places else on_device(like[0] if like else tensor)
        else:
            on = func is torch.Tensor.cuda
        if on_device(tensor) and not on:
            _waits.append("copy to the CPU")
        moved = tensor.to(dtypes[0] if dtypes else tensor.dtype, copy=bool(kwargs.get("copy")) or on != on_device(tensor))
        _place(moved, on)
        return moved


class _Tags(TorchDispatchMode):
    """Carry devices from inputs to outputs, and refuse to mix them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        inputs = _tensors((args, kwargs))
        on = any(map(on_device, inputs))
        if on:
            self._check(func, inputs, args, kwargs)
            _waits.extend([str(func)] if func.overloadpacket in _WAITING else [])
        known = _storages(inputs)
        result = func(*args, **kwargs)
        for output in _tensors(result) if on else ():
            if output.untyped_storage()._cdata not in known:
                _place(output, True)
        return result

    @staticmethod
    def _check(func: Any, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        packet = func.overloadpacket
        if packet in _BETWEEN_DEVICES:
            return
        _refuse_generators(func, args, kwargs)
        strays = [tensor for tensor in inputs if not on_device(tensor)]
        if packet in _INDEXING:
            if not on_device(args[0]):
                raise WrongDevice(f"{func}: indices should be on the device of the indexed tensor (cpu)")
            strays = [value for value in _tensors(args[2:3]) if value.dim() and not on_device(value)]
        elif torch.Tag.pointwise in func.tags or packet in _WITH_SCALARS:
            names = [argument.name for argument in func._schema.arguments]
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
            outputs = _tensors([given.get(name) for name in written])
            scalars = all(tensor.dim() == 0 for tensor in strays) and all(map(on_device, outputs))
            strays = [] if scalars and len(strays) <= (2 if packet is _aten.where else 1) else strays
        if strays:
            raise WrongDevice(f"{func}: expected all tensors to be on the same device, but found cuda:0 and cpu")


def _group_by_device(tensor_lists: Any, with_indices: bool = False) -> Any:
    """Group as ``torch._C._group_tensors_by_device_and_dtype``, which asks no Python where tensors are."""
    places = {DEVICE if on_device(tensor) else _CPU for tensor in _tensors(tensor_lists[0])}
    if len(places) > 1:
        raise WrongDevice("lists of tensors of both devices")
    return {(*places, dtype): group for (_, dtype), group in _GROUP(tensor_lists, with_indices).items()}


@contextmanager
def waits() -> Iterator[list[str]]:
    """Yield a list of the operations within, in their order, whose result the CPU needs before it can go on."""
    _waits.clear()
    yield _waits
    _waits.clear()


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Pretend that there is an accelerator, and yield its device; tensors keep their places after the context has ended."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.cuda, "is_available", return_value=True))
        stack.enter_context(mock.patch.object(torch.cuda, "current_device", return_value=DEVICE.index))
        stack.enter_context(mock.patch.object(torch._C, "_group_tensors_by_device_and_dtype", _group_by_device))
        # The random stream of the pretended device is that of the CPU.
        stack.enter_context(mock.patch.object(torch.cuda, "get_rng_state", side_effect=lambda device: torch.get_rng_state()))
        stack.enter_context(
            mock.patch.object(torch.cuda, "set_rng_state", side_effect=lambda state, device: torch.set_rng_state(state))
        )
        stack.enter_context(_Places())
        stack.enter_context(_Tags())
        yield DEVICE
