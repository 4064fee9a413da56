"""What the service says of itself in OpenAPI is so: every route, and generated requests, right and wrong ones."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tagnn_fast.serving import app
from tagnn_fast.serving.http.service import Limits
from tests.serving.http.services import exported, serving

OPERATIONS, VARIED = 17, 7  # without parameters there is one request
CASES = int(os.environ.get("TAGNN_FAST_SERVICE_CASES", "240"))
EACH = max(1, CASES // (2 * VARIED))  # of right requests for an operation, and of wrong ones
# A tensor's shape is that of its data; items are found by a text or by ids.
BEYOND_SCHEMAS = ("/v2/models/{name}/infer", "/v1/items")


@pytest.fixture(scope="module")
def schema() -> Any:
    service = app(f"shop={exported()}", sessions="memory")
    checks = {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "504"]}}
    return schemathesis.openapi.from_asgi(
        "/openapi.json", service, config=SchemathesisConfig.from_dict({"checks": checks})
    )


def has_floats(body: object) -> bool:
    """Whether there are numbers like 88.0, integers to JSON Schema; no field takes them."""
    if isinstance(body, dict):
        return any(map(has_floats, body.values()))
    return any(map(has_floats, body)) if isinstance(body, list) else isinstance(body, float)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests(schema: Any, mode: GenerationMode) -> None:
    seen = 0
    for operation in schema.get_all_operations():
        operation = operation.ok()

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EACH, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case: schemathesis.Case) -> None:
            nonlocal seen
            assume(mode == GenerationMode.NEGATIVE or not has_floats(case.body))
            seen += 1
            excluded = [schemathesis.checks.positive_data_acceptance] if case.path in BEYOND_SCHEMAS else []
            case.call_and_validate(excluded_checks=excluded)

        try:
            ask()
        except Unsatisfiable:  # nothing can be wrong in a request without parameters
            assert mode == GenerationMode.NEGATIVE
            assert not [*operation.body, *operation.path_parameters, *operation.query, *operation.headers]
    assert seen >= VARIED * EACH


def test_every_route_is_described() -> None:
    with serving(exported(), sessions="memory") as client:
        described = {
            (method.upper(), path)
            for path, operations in client.get("/openapi.json").json()["paths"].items()
            for method in operations
        }
        routes = {
            (method, route.path)
            for route in client.app.routes  # type: ignore[attr-defined]
            if isinstance(route, Route) and route.path != "/" and not route.path.startswith("/page")
            for method in (route.methods or ()) - {"HEAD"}
        }
    assert described == routes
    assert len(described) == OPERATIONS


def test_mounted() -> None:
    """Paths are those of the application that it is mounted in."""
    outer = Starlette(routes=[Mount("/shop", app(exported()))])
    with TestClient(outer) as client:
        assert client.get("/shop/openapi.json").json()["servers"] == [{"url": "/shop"}]


def test_longest_list() -> None:
    with serving(exported(), limits=Limits(k=7, sessions=3, clicks=5)) as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    recommend = schemas["RecommendRequest"]["properties"]
    assert recommend["k"]["maximum"] == schemas["InferParameters"]["properties"]["k"]["maximum"] == 7
    assert recommend["sessions"]["anyOf"][0]["maxItems"] == 3
    assert recommend["session"]["anyOf"][0]["maxItems"] == 5
