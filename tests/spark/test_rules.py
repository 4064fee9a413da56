"""The rules of `prepare logs`, by Spark: the same random logs as in tests/rules, but for those that engines read apart.

TAGNN_FAST_SPARK_EXAMPLES is how many are tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagnn_fast.logs import Spark, engines
from tests.rules.comparing import check_prepare
from tests.rules.examples import example

# For few rows: nothing is compiled, nothing cut into parts.
QUICK = {
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="module")
def one_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For all examples: to start one takes longer than an example. Without its tables after each."""

    def forget(spark: Spark) -> None:
        for table in spark.session.sql("SHOW TABLES").collect():
            spark.session.sql(f"DROP {'VIEW' if table.isTemporary else 'TABLE'} IF EXISTS {table.tableName}")

    with Spark(tmp_path_factory.mktemp("spark"), "UTC", master="local[1]") as spark:
        for name, value in QUICK.items():
            spark.session.conf.set(name, value)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spark, "close", forget)
            patch.setattr(engines, "own_spark_session", lambda *_: spark.session)
            yield


@pytest.mark.parametrize("number", range(int(os.environ.get("TAGNN_FAST_SPARK_EXAMPLES", "3"))))
def test_example(number: int, tmp_path: Path, one_session: None) -> None:
    (tmp_path / "log").mkdir()
    made = example(10_000 + number, tmp_path / "log")
    if not made.alike:
        pytest.skip("engines are known to read this apart")
    print(made)
    check_prepare(made, tmp_path / "out", "--engine", "spark")
