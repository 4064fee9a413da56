"""Names of a log's sessions, by which answers are joined back to them."""

from __future__ import annotations

import pyarrow as pa

from tagnn_fast.logs.named_sessions import _shown


def test_no_two_alike() -> None:
    pairs = [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c"), ("", "a/b/c"), ("a", ""), ("é", "1")]
    owners = pa.chunked_array([[f"{len(user)}:{user}{session}" for user, session in pairs]])
    names = _shown(owners).to_pylist()
    assert names == ["a%2Fb/c", "a/b/c", "a%252Fb/c", "/a/b/c", "a/", "é/1"]
