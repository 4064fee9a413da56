"""What Prometheus reads: every number by its name, several applications in a process, and what counting costs."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tagnn_fast.recommendations import Recommendations
from tagnn_fast.serving.http.metrics import Metrics
from tests.serving.http.services import exported, serving
from tests.support import ROOT


def read(metrics: str) -> dict[str, float]:
    """Samples by name and labels, as `name{label=value}`."""
    found = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def text(metrics: Metrics, *models: object) -> dict[str, float]:
    return read(metrics.text(3, models).decode())  # type: ignore[arg-type]


def model(version: str, created: object) -> object:
    """What a loaded model says of itself."""
    manifest = {"architecture": "tagnn", "created": created}
    return SimpleNamespace(name="shop", version=version, served=SimpleNamespace(manifest=manifest))


def test_every_number() -> None:
    metrics = Metrics()
    metrics.requested("/v1/recommend", 200, 0.004)
    metrics.requested("/v1/recommend", 200, 0.3)
    metrics.requested("/v1/recommend", 503, 0.0001)
    metrics.scored(7, [0.0005, 0.03], 0.004)
    metrics.recommended("shop", Recommendations([], [], [0, 2, 1], [0, 3, 1], True))
    metrics.loaded("shop", "v1")
    metrics.refused("shop", "damaged")
    metrics.not_stored()
    found = text(metrics, model("v1", (datetime.now(UTC) - timedelta(seconds=50)).isoformat(timespec="seconds")))
    age = found.pop("tagnn_fast_model_age_seconds{model=shop}")
    assert 50 <= age < 80
    expected = {
        "tagnn_fast_requests_total{route=/v1/recommend,status=200}": 2,
        "tagnn_fast_requests_total{route=/v1/recommend,status=503}": 1,
        "tagnn_fast_request_seconds_bucket{le=0.005,route=/v1/recommend}": 1,
        "tagnn_fast_request_seconds_count{route=/v1/recommend}": 2,  # not of what was refused
        "tagnn_fast_queue_seconds_bucket{le=0.0005}": 1,
        "tagnn_fast_queue_seconds_count": 2,
        "tagnn_fast_scoring_seconds_count": 1,
        "tagnn_fast_call_sessions_sum": 7,
        "tagnn_fast_sessions_total{answer=model,model=shop}": 2,
        "tagnn_fast_sessions_total{answer=popularity,model=shop}": 1,
        "tagnn_fast_unknown_items_total{model=shop}": 4,
        "tagnn_fast_model_loads_total{model=shop,outcome=loaded}": 1,
        "tagnn_fast_model_loads_total{model=shop,outcome=refused}": 1,
        "tagnn_fast_model_info{architecture=tagnn,model=shop,version=v1}": 1,
        "tagnn_fast_clicks_not_stored_total": 1,
        "tagnn_fast_queue_depth": 3,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["process_open_fds"] > 0
    assert found["process_resident_memory_bytes"] > 0


def test_applications_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.requested("/live", 200, 0.001)
    assert "tagnn_fast_requests_total{route=/live,status=200}" in text(first)
    assert "tagnn_fast_requests_total{route=/live,status=200}" not in text(second)


@pytest.mark.parametrize("created", [None, "long ago"])
def test_swapped_version_is_gone(created: object) -> None:
    metrics = Metrics()
    text(metrics, model("v1", datetime.now(UTC).isoformat()))
    names = [name for name in text(metrics, model("v2", created)) if "shop" in name]
    assert names == ["tagnn_fast_model_info{architecture=tagnn,model=shop,version=v2}"]


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(2000):
            metrics.requested("/live", 200, 0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert text(metrics)["tagnn_fast_requests_total{route=/live,status=200}"] == 8000


def test_served() -> None:
    """What a service counts while it answers."""
    with serving(exported()) as client:
        for session in ([13, 999_999], [999_999]):
            client.post("/v1/recommend", json={"session": session})
        client.get("/nowhere")
        client.post("/v1/recommend", json={"session": [13], "k": 0})
        answer = client.get("/metrics")
        version = client.get("/v1/models").json()["models"][0]["version"]
    assert answer.headers["content-type"].startswith("text/plain")
    found = read(answer.text)
    assert found["tagnn_fast_sessions_total{answer=model,model=tagnn_pp}"] == 1
    assert found["tagnn_fast_sessions_total{answer=popularity,model=tagnn_pp}"] == 1
    assert found["tagnn_fast_unknown_items_total{model=tagnn_pp}"] == 2
    assert found["tagnn_fast_queue_seconds_count"] == 2
    assert found["tagnn_fast_queue_depth"] == 0
    assert found["tagnn_fast_requests_total{route=/v1/recommend,status=200}"] == 2
    assert found["tagnn_fast_requests_total{route=/v1/recommend,status=422}"] == 1
    assert found["tagnn_fast_requests_total{route=other,status=404}"] == 1
    assert found["tagnn_fast_model_loads_total{model=tagnn_pp,outcome=loaded}"] == 1
    assert found[f"tagnn_fast_model_info{{architecture=tagnn_pp,model=tagnn_pp,version={version}}}"] == 1
    assert 0 <= found["tagnn_fast_model_age_seconds{model=tagnn_pp}"] < 3600


def test_guide_names_every_number() -> None:
    with serving(exported()) as client:
        served = set(re.findall(r"^# TYPE (tagnn_fast_\w+)", client.get("/metrics").text, re.MULTILINE))
    guide = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tagnn_fast_\w+)", guide))
    assert named == {name for name in served if not name.endswith("_created")}
