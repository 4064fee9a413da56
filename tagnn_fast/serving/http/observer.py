"""What the service tells of itself while it runs: metrics are made of it."""

from __future__ import annotations

from collections.abc import Sequence

from tagnn_fast.recommendations import Recommendations


class Observer:
    """Hears of everything and does nothing; to be overridden. None of these may raise, or take long."""

    def requested(self, route: str, status: int, seconds: float) -> None:
        """A request has ended: its route's path, like "/v1/recommend"; 499 where its client was gone. Event loop."""

    def scored(self, sessions: int, waited: Sequence[float], seconds: float) -> None:
        """One call of a model: its sessions, how long each question had waited, how long it took. Scoring thread."""

    def recommended(self, model: str, answer: Recommendations) -> None:
        """A request's sessions were answered by the model of this name. Event loop."""

    def loaded(self, model: str, version: str) -> None:
        """A model of this name answers from now on. Any thread."""

    def refused(self, model: str, reason: str) -> None:
        """A new folder of this name could not be loaded: the model before it goes on. Watching thread."""

    def not_stored(self) -> None:
        """A click of a session was answered and not kept: the store does not answer. Event loop."""
