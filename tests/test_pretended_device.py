"""The pretended accelerator refuses what CUDA refuses, and nothing that it allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.pretended_device import DEVICE, WrongDevice, on_device, pretended_device


@pytest.fixture(autouse=True)
def device() -> Iterator[torch.device]:
    with pretended_device() as place:
        yield place


def here() -> Tensor:
    return torch.arange(3.0)


def there() -> Tensor:
    return torch.arange(3.0, device="cuda")


def index(device: str = "cpu") -> Tensor:
    return torch.tensor([0, 2], device=device)


def accumulated() -> Tensor:
    total = torch.zeros(())
    total += there().sum()
    return total


MISTAKES: dict[str, Callable[[], object]] = {
    "addition": lambda: here() + there(),
    "addition of another's scalar": lambda: here() + there().sum(),
    "two scalars": lambda: torch.addcmul(there(), here()[0], here()[1]),
    "addition in place": lambda: there().add_(here()),
    "a scalar of the CPU written to": accumulated,
    "output elsewhere": lambda: torch.mul(there(), there(), out=torch.empty(3)),
    "module fed from elsewhere": lambda: nn.Linear(3, 2).to("cuda")(here()),
    "module left behind": lambda: nn.Linear(3, 2)(there()),
    "concatenation": lambda: torch.cat([here(), there()]),
    "stack of scalars": lambda: torch.stack([here().sum(), there().sum()]),
    "selection": lambda: there().index_select(0, index()),
    "gathering": lambda: there().gather(0, index()),
    "index of the device": lambda: here()[index("cuda")],
    "mask of the device": lambda: here()[there() > 0.0],
    "values put by index": lambda: there().__setitem__(index(), here()[:2]),
    "choice": lambda: torch.where(here() > 0.0, there(), 0.0),
    "numpy": lambda: there().numpy(),
    "generator of a factory": lambda: torch.rand(3, generator=torch.Generator(), device="cuda"),
    "generator in place": lambda: there().uniform_(generator=torch.Generator()),
    "view": lambda: there().view(3, 1)[1:] * here()[:2, None],
    "gradient": lambda: (nn.Linear(3, 2).to("cuda")(there()).sum() * here()).sum(),
    "copy of a copy": lambda: copy.deepcopy(there()) + here(),
    "weights copied": lambda: copy.deepcopy(nn.Linear(3, 2).to("cuda"))(here()),
    "made like another": lambda: torch.zeros_like(there()) + here(),
    "back again": lambda: there().cpu() + there(),
}

ALLOWED: dict[str, Callable[[], object]] = {
    "addition": lambda: there() + there() * 2.0,
    "scalar": lambda: there() + torch.tensor(1.0),
    "moved": lambda: here().to("cuda") + there() + here().cuda() + here().to(there()) + torch.as_tensor(here(), device=DEVICE),
    "moved back": lambda: there().cpu() + here() + there().to("cpu", copy=True) + torch.zeros_like(there(), device="cpu"),
    "copied": lambda: (there().copy_(here()), here().copy_(there())),
    "a slice set from elsewhere": lambda: there().__setitem__(slice(2), here()[:2]),
    "index of the CPU": lambda: there()[index()] + there()[index("cuda")],
    "number put by index": lambda: there().__setitem__(index("cuda"), 0.0),
    "choice of numbers": lambda: torch.where(there() > 0.0, 1.0, there()),
    "module": lambda: nn.Linear(3, 2).to("cuda")(there()).sum().backward(),
    "numbers": lambda: (there().sum().item(), there().tolist(), float(there()[0]), there().cpu().numpy()),
    "made like another": lambda: there().new_zeros(3) + there().new_tensor([1.0, 2.0, 3.0]) + torch.empty_like(there()) + there(),
    "random": lambda: torch.normal(there(), there() + 1.0) + torch.randn(3, device="cuda"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(mistake: str) -> None:
    with pytest.raises(WrongDevice):
        MISTAKES[mistake]()


@pytest.mark.parametrize("thing", ALLOWED)
def test_what_is_allowed_passes(thing: str) -> None:
    ALLOWED[thing]()


def test_tensors_say_where_they_are() -> None:
    moved = here().to("cuda")
    assert (moved.device, moved[1:].device, (moved + 1.0).device, moved.to(torch.float64).device) == (DEVICE,) * 4
    assert {moved.cpu().device, here().device, torch.empty(1).device} == {torch.device("cpu")}
    assert (moved.is_cuda, moved.is_cpu) == (True, False)
    assert moved.to("cuda") is moved
    with torch.inference_mode():
        assert (there() + there()).device == DEVICE


def test_weights_gradients_and_moments_are_where_the_module_is() -> None:
    module = nn.Linear(3, 2).to("cuda")
    optimizer = torch.optim.Adam(module.parameters())
    module(there()).sum().backward()
    optimizer.step()
    for weight in module.parameters():
        assert weight.grad is not None
        assert all(map(on_device, (weight, weight.grad, optimizer.state[weight]["exp_avg"])))


def test_a_freed_place_is_not_confused_with_a_new_one() -> None:
    for _ in range(50):
        there()  # freed at once, and its address with it
        assert not any(on_device(torch.empty(3)) for _ in range(20))
