"""Click data: sessions on disk and in memory, and the examples cut out of them."""

from tagnn_fast.data.dataset import Dataset, read_dataset, write_dataset
from tagnn_fast.data.examples import ExampleBatch, PrefixExamples
from tagnn_fast.data.exchange import read_exchange
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.synthetic import synthetic_dataset
from tagnn_fast.data.titles import read_titles
from tagnn_fast.data.vocabulary import Vocabulary

__all__ = [
    "Dataset",
    "ExampleBatch",
    "PrefixExamples",
    "Sessions",
    "Vocabulary",
    "read_dataset",
    "read_exchange",
    "read_titles",
    "synthetic_dataset",
    "write_dataset",
]
