"""ModelConfig refuses what no model can be."""

import numpy as np
import pytest

from tagnn_fast import ModelConfig


def test_defaults() -> None:
    config = ModelConfig(num_items=10)
    assert (config.hidden_size, config.rounds, config.heads, config.attention_dropout) == (100, 1, 2, 0.1)
    assert (config.hybrid, config.semantics, config.padded_length) == (False, "clean", None)


def test_numpy_integers() -> None:
    """They are integers, and become Python's own, which JSON can hold."""
    config = ModelConfig(np.int32(10), np.int64(8), padded_length=np.uint8(3))  # type: ignore[arg-type]
    assert config == ModelConfig(10, 8, padded_length=3)
    assert {type(config.num_items), type(config.hidden_size), type(config.padded_length)} == {int}


def test_earlier_name_of_semantics() -> None:
    config = ModelConfig(10, semantics="original", padded_length=3)  # type: ignore[arg-type]
    assert config == ModelConfig(10, semantics="published", padded_length=3)
    assert config.semantics == "published"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"num_items": 0}, ValueError, "num_items: expected 1 or more, got 0"),
        ({"num_items": 2.0}, TypeError, "num_items: expected an int, got 2.0"),
        ({"rounds": True}, TypeError, "rounds: expected an int, got True"),
        ({"hybrid": "no"}, TypeError, "hybrid: expected True or False, got 'no'"),
        ({"attention_dropout": "a"}, TypeError, "attention_dropout: expected a float, got 'a'"),
        ({"padded_length": 9.5}, TypeError, "padded_length: expected an int or None, got 9.5"),
        ({"attention_dropout": 1.0}, ValueError, "attention_dropout: expected a rate in [0, 1), got 1.0"),
        ({"semantics": "other"}, ValueError, "semantics: expected 'clean' or 'published', got 'other'"),
        (
            {"semantics": "published"},
            ValueError,
            "padded_length: expected the length sessions are padded to in 'published' semantics, got None",
        ),
        ({"session_share": 0.9}, ValueError, "session_share: expected none without a cosine_scale, got 0.9"),
        ({"padded_length": -1}, ValueError, "padded_length: expected 0 or more, got -1"),
    ],
)
def test_errors(options: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        ModelConfig(**{"num_items": 10, **options})  # type: ignore[arg-type]
    assert str(error.value) == message
