"""What models declare is worth trying: their defaults are among it, and it holds what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tagnn_fast import SessionModel
from tagnn_fast.nn.architectures import BUILT_IN
from tagnn_fast.nn.search_space import Choice, Real, Whole
from tagnn_fast.training.recipes import DEFAULT_PRESET, resolve


@pytest.mark.parametrize("architecture", BUILT_IN)
def test_defaults_are_in_it(architecture: str) -> None:
    """So that tuning can begin with them: what an option is where nobody says anything, by the default preset."""
    space = BUILT_IN[architecture].search_space
    configurations = resolve(DEFAULT_PRESET, {"architecture": architecture}, num_items=1, longest_prefix=1)
    defaults = {name: value for part in configurations for name, value in dataclasses.asdict(part).items()}
    assert {name: defaults[name] for name, values in space.items() if defaults[name] not in values} == {}
    assert space.keys() >= SessionModel.search_space.keys()


def test_heads_divide_every_width() -> None:
    space = BUILT_IN["tagnn_pp"].search_space
    widths, heads = space["hidden_size"], space["heads"]
    assert isinstance(widths, Choice)
    assert isinstance(heads, Choice)
    assert [(width, count) for width in widths.values for count in heads.values if width % count] == []  # type: ignore[operator]


def test_what_is_in_it() -> None:
    assert 2 in Choice([1, 2])
    assert 3 not in Choice([1, 2])
    assert True not in Choice([1, 2])
    assert 1 not in Choice([True, False])
    assert None in Choice([None, 5])
    assert [value in Whole(1, 3) for value in (0, 1, 3, 4, 2.0, True)] == [False, True, True, False, False, False]
    assert [value in Real(0.5, 3) for value in (0.4, 0.5, 1, 3.0, 4, True)] == [False, True, True, True, False, False]
    assert (str(Choice(["a", "b"])), str(Whole(1, 3)), str(Real(1e-7, 0.5))) == (
        "one of a, b",
        "1 to 3",
        "1e-07 to 0.5",
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice([]), "values: expected at least one, got none"),
        (lambda: Real(2, 1), "low: expected a finite number below high, got 2 and 1"),
        (lambda: Whole(1, 1), "low: expected a finite number below high, got 1 and 1"),
        (lambda: Real(0, float("inf")), "low: expected a finite number below high, got 0 and inf"),
        (lambda: Real(0, 1, log=True), "low: expected more than 0 on a logarithmic scale, got 0"),
    ],
)
def test_what_is_none(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
