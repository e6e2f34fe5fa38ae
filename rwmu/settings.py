"""Settings that validate themselves: dataclasses and constructors whose annotations say what a value may be.

pydantic does the checking, strictly (``"3"`` is no number, ``true`` is no 1); what it finds becomes one sentence with the setting's
dotted name. A whole number is a number, and a list will do for a tuple.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError, validate_call
from pydantic.dataclasses import dataclass

from rwmu.errors import CheckpointError, ConfigError

Count = Annotated[int, Field(ge=1, le=10**9)]  # more of anything is a slip of the keyboard
Few = Annotated[int, Field(ge=1, le=1000)]  # of what is built one by one
WholeNumber = Annotated[int, Field(ge=0, le=10**9)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Tilt = Annotated[float, Field(ge=-1.0, lt=1.0)]  # gravity's z in the base frame: -1 upright, 0 on its side
FilmedSeconds = Annotated[float, Field(gt=0.0, le=600.0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Counts = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Pair = Annotated[tuple[float, float], Field(strict=False)]

_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False, extra="forbid")
_SHOWN = 80  # characters of a wrong value
_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a word",
    "tuple_type": "a list",
    "sequence_str": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def settings(group: str) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass that refuses impossible values with a :class:`~rwmu.errors.ConfigError`.

    Args:
        group: where it stands in the configuration, such as ``policy.ppo``; errors name ``policy.ppo.gamma``.
    """

    def decorate(cls: type[T]) -> type[T]:
        made: Any = dataclass(frozen=True, config=_STRICT)(cls)
        made.__init__ = _in_one_sentence(made.__init__, group, tuple(signature(made).parameters))
        return made  # type: ignore[no-any-return]

    return decorate


def of_file(kind: type[T], content: Mapping[str, Any], source: str) -> T:
    """Make settings of what a file holds.

    Args:
        source: how errors name the file.

    Raises:
        CheckpointError: something is missing, of another type, or too much.
    """
    try:
        return kind(**{str(name): value for name, value in content.items()})
    except ConfigError as error:
        raise CheckpointError(f"{source} is damaged, or of another program: {error}") from None


def made(kind: type[T]) -> Callable[[Any], Any]:
    """Return what makes settings of a mapping, for a field that holds other settings: ``BeforeValidator(made(Inner))``."""

    def make(given: Any) -> Any:
        return kind(**given) if isinstance(given, Mapping) else given

    return make


def checked(group: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a constructor: its arguments are checked against their annotations, as :func:`settings` checks fields."""

    def decorate(constructor: Callable[..., Any]) -> Callable[..., Any]:
        return _in_one_sentence(validate_call(config=_STRICT)(constructor), group, tuple(signature(constructor).parameters))

    return decorate


def close_match(word: str, candidates: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the candidate nearest to ``word``, or the empty string."""
    known = list(candidates)
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not nearest:  # a right name under a wrong parent, or without one
        last = word.rsplit(".", 1)[-1]
        by_last = {name.rsplit(".", 1)[-1]: name for name in known}
        nearest = [by_last[name] for name in difflib.get_close_matches(last, by_last, n=1, cutoff=0.75)]
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def choose(what: str, word: str, known: Iterable[str]) -> None:
    """Refuse a word that is none of those known, naming the nearest.

    Raises:
        ConfigError: one sentence.
    """
    names = list(known)
    if word not in names:
        raise ConfigError(f"{what} has '{word}'{close_match(word, names) or ';'} Choose from: {', '.join(names)}.")


def _in_one_sentence(constructor: Callable[..., Any], group: str, arguments: tuple[str, ...]) -> Callable[..., Any]:
    @wraps(constructor)
    def construct(*values: Any, **named: Any) -> Any:
        try:
            return constructor(*values, **named)
        except ValidationError as error:
            raise ConfigError(sentence(error, group, arguments)) from None

    return construct


def sentence(error: ValidationError, group: str = "", arguments: Sequence[str] = ()) -> str:
    """Return what pydantic found first, in one sentence with the setting's dotted name.

    Args:
        arguments: names of those that were given by place.
    """
    found = error.errors(include_url=False)
    first = found[0]
    field, *inner = first["loc"]
    index = "".join(f"[{part}]" for part in inner if isinstance(part, int) and first["type"] != "missing")
    place = arguments[field] if isinstance(field, int) else field
    name = ".".join(part for part in (group, place) if part) + index
    if first["type"] in ("missing", "missing_argument") and not inner:
        return f"{name} is missing; give it a value."
    if first["type"] == "unexpected_keyword_argument":
        return f"There is no {name}; leave it out."
    given = "null" if first["input"] is None else " ".join(repr(first["input"]).split())
    given = given if len(given) <= _SHOWN else f"{given[:_SHOWN]} ..."
    # Of a choice between types, pydantic says what is wrong with each.
    same = [entry for entry in found if entry["loc"][:1] == first["loc"][:1]]
    alternatives = [first, *(entry for entry in same if entry is not first and entry["input"] == first["input"])]
    wanted = " or ".join(dict.fromkeys(_wanted(entry) for entry in alternatives))
    names = [name for entry in alternatives if entry["type"] == "literal_error" for name in _names(entry)]
    return f"{name} is {given}, but must be {wanted}{close_match(given, names) or '.'}"


def _names(entry: Any) -> list[str]:
    return [name.strip("'") for name in str(entry["ctx"]["expected"]).replace(" or ", ", ").split(", ")]


def _wanted(entry: Any) -> str:
    kind, context = entry["type"], entry.get("ctx") or {}
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"{word} {context[key]:g}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind in ("too_short", "too_long", "missing"):
        return "a shorter list" if kind == "too_long" else "a longer list"
    message = str(entry["msg"]).removeprefix("Input should be ")
    return _WANTED.get(kind, message[:1].lower() + message[1:])
