"""Batch scoring: recommendations for files of sessions and for logs, here or by the workers of Spark or Ray."""

from tagnn_fast.scoring.jobs import EngineName, Summary, score_logs, score_sessions
from tagnn_fast.scoring.tasks import open_model

__all__ = ["EngineName", "Summary", "open_model", "score_logs", "score_sessions"]
