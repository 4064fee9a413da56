"""What somebody who meets a model should know, for people: the model card beside it on a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tagnn_fast.runs.results import Result
from tagnn_fast.tables import main_figures

LIMITS = (
    "Items that did not occur in training cannot be recommended; their clicks are skipped.",
    "A session without a known item is answered by popularity in training.",
    "Figures are for sessions like the test split's, which follow the training sessions in time.",
)
_HEAD = """\
---
library_name: tagnn_fast
tags:
- session-based-recommendation
- recommender-system
- {architecture}
---

# {architecture} on {dataset}

Recommends the next item of a click session, from a catalogue of {items:,} items.

```python
import tagnn_fast

run = tagnn_fast.from_pretrained("{name}")
run.recommender().recommend([[...]], k=20)  # raw item ids, oldest click first
```

## Trained on

{train[sessions]:,} sessions with {train[clicks]:,} clicks of `{dataset}` ({train[mean_clicks]:.1f} clicks a session);
tested on {test[sessions]:,} sessions, {test[examples]:,} clicks to predict.

## Figures

"""


def model_card(
    name: str,
    configuration: Mapping[str, Mapping[str, Any]],
    dataset: Mapping[str, Any],
    result: Mapping[str, Any] | None,
) -> str:
    """A model card in Markdown, with the head that hubs read.

    Args:
        name: of the model on the hub.
        configuration: of model and training, as in ``config.json``.
        dataset: name and statistics of the data set, likewise.
        result: the content of ``result.json``; None before training has ended.
    """
    training, statistics = configuration["training"], dataset["statistics"]
    head = _HEAD.format(
        name=name,
        architecture=training["architecture"],
        dataset=dataset["name"],
        items=statistics["items"]["count"],
        train=statistics["train"],
        test=statistics["test"],
    )
    options = [f"- `{option}`: {value}" for part in configuration.values() for option, value in part.items()]
    parts = [head + "\n".join(_figures(result)), "## Options", "\n".join(options), "## Limits"]
    return "\n\n".join([*parts, "\n".join(f"- {limit}" for limit in LIMITS)]) + "\n"


def _figures(result: Mapping[str, Any] | None) -> list[str]:
    """A table of the figures, and the protocol that they are of."""
    if result is None:
        return ["Training has not ended: there are none yet."]
    splits = Result(result).figures
    if not splits:
        return [f"Protocol `{result.get('protocol')}`: none of this model alone."]
    columns = main_figures(next(iter(splits.values())))
    lines = [
        f"Protocol `{result.get('protocol')}`, in percent:",
        "",
        f"| | {' | '.join(columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    lines += [
        f"| {split} | {' | '.join(f'{figures[name]:.2f}' for name in columns)} |" for split, figures in splits.items()
    ]
    if caution := result.get("caution"):
        lines += ["", f"**Beware**: {caution}"]
    return lines
