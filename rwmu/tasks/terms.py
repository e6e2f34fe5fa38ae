"""Reward terms as settings: a function, a weight, and arguments by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.settings import choose, close_match

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Term:
    """One term of a reward.

    Attributes:
        function: of named quantities to ``[B]``; a :class:`functools.partial` gives it further arguments.
        weight: its factor in the sum.
    """

    function: Callable[..., Tensor]
    weight: float


def varied(terms: Mapping[str, Term], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Term]:
    """Return the terms, those named with another ``weight`` or other arguments of their function.

    Raises:
        ConfigError: there is no such term.
    """
    for name in changes:
        choose("A change of the rewards", name, terms)
    return {name: _varied(term, dict(changes.get(name, {}))) for name, term in terms.items()}


def _varied(term: Term, arguments: dict[str, Any]) -> Term:
    weight = arguments.pop("weight", term.weight)
    return Term(partial(_plain(term.function), **arguments) if arguments else term.function, weight)


class Terms:
    """The terms of a reward, each checked to get all that its function asks for.

    Args:
        given: name -> :class:`Term`, or a mapping with its fields; order counts, for sums are rounded.
        known: names of the quantities that there are.

    Raises:
        ConfigError: a term is none, asks for what is not there, or is given an argument that it does not take.
    """

    def __init__(self, given: Mapping[str, Any], known: Collection[str]) -> None:
        self.terms = {name: _term(name, term) for name, term in given.items()}
        if not self.terms:
            raise ConfigError("task.rewards is empty; name one term or more.")
        self._calls = {name: (_plain(term.function), _quantities(name, term.function, known)) for name, term in self.terms.items()}

    @property
    def weights(self) -> dict[str, float]:
        """Return each term's weight."""
        return {name: term.weight for name, term in self.terms.items()}

    @property
    def asked(self) -> set[str]:
        """Return the names of the quantities that the terms ask for, those without weight left out."""
        return {quantity for name, (_, asked) in self._calls.items() if self.weights[name] for quantity in asked}

    def __call__(self, quantities: Mapping[str, Any], batch: int) -> dict[str, Tensor]:
        """Return every term, ``[B]`` each, unweighted."""
        found: dict[str, Tensor] = {}
        for name, (function, asked) in self._calls.items():
            value = function(**{quantity: quantities[quantity] for quantity in asked})
            if value.shape != (batch,):
                raise ConfigError(f"task.rewards.{name} is {tuple(value.shape)}, but must be one number an environment ({batch},).")
            found[name] = value
        return found

    def check(self, quantities: Mapping[str, Any]) -> None:
        """Refuse a term that has no finite value for one row of sensible quantities; its arguments make no sense.

        Raises:
            ConfigError: names the term.
        """
        for name, (function, asked) in self._calls.items():
            given = _unwrapped(self.terms[name].function)[1]
            words = f"task.rewards.{name} cannot be computed for a robot that stands still, with {given or 'no arguments'}"
            try:
                value = function(**{quantity: quantities[quantity] for quantity in asked})
            except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
                raise ConfigError(f"{words}: {' '.join(str(error).split())}.") from error
            if not bool(value.isfinite().all()):
                raise ConfigError(f"{words}: it is {value.tolist()}.")

    def describe(self) -> dict[str, Any]:
        """Return what the terms are as plain values."""
        described: dict[str, Any] = {}
        for name, term in self.terms.items():
            function, arguments = _unwrapped(term.function)
            where = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
            described[name] = {"function": where, "arguments": arguments, "weight": term.weight}
        return described


def _term(name: str, given: Any) -> Term:
    if not isinstance(given, Term) and (not isinstance(given, Mapping) or set(given) != {"function", "weight"}):
        raise ConfigError(f"task.rewards.{name} is {given!r}, but must have a function and a weight.")
    term = given if isinstance(given, Term) else Term(**given)
    weight = term.weight
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
        raise ConfigError(f"task.rewards.{name}.weight is {weight!r}, but must be a finite number.")
    if not callable(term.function):
        raise ConfigError(
            f"task.rewards.{name}.function is {term.function!r}; give the _target_ of a function, and _partial_: true."
        )
    return term


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a partial as one of Python's own: Hydra's checks its target at every call, which takes longer than the term."""
    return partial(function.func, *function.args, **function.keywords) if isinstance(function, partial) else function


def _unwrapped(function: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function within a partial, and the arguments that it has."""
    return (function.func, dict(function.keywords)) if isinstance(function, partial) else (function, {})


def _quantities(name: str, term: Callable[..., Any], known: Collection[str]) -> tuple[str, ...]:
    """Return which quantities a term's function is to be given: those that it names and the configuration does not give."""
    function, given = _unwrapped(term)
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for argument in given:
        if argument not in parameters and not takes_any:
            raise ConfigError(f"task.rewards.{name}.function takes no '{argument}'{close_match(argument, parameters) or '.'}")
    asked = []
    for parameter in parameters.values():
        if parameter.name in given or parameter.kind not in _BY_NAME:
            continue
        if parameter.name in known:
            asked.append(parameter.name)
        elif parameter.default is inspect.Parameter.empty:
            raise ConfigError(
                f"task.rewards.{name} asks for '{parameter.name}', which neither the task has nor its configuration gives"
                f"{close_match(parameter.name, known) or ';'} The task has: {', '.join(known)}."
            )
    return tuple(asked)
