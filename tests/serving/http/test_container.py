"""The container's files parse and name what there is: they are not built here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tagnn_fast.cli import app
from tagnn_fast.serving.http import metrics, routes
from tests.support import ROOT

FOLDER = ROOT / "examples" / "service"


def instructions(path: Path) -> list[tuple[str, str]]:
    """Of a Dockerfile: each with its arguments, continued lines as one."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", "")
    found = [line.split(maxsplit=1) for line in text.splitlines()]
    return [(name, " ".join(rest.split())) for name, rest in found]


def serve_options() -> set[str]:
    commands: Any = get_command(app)
    return {name for parameter in commands.commands["serve"].params for name in parameter.opts}


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    return instructions(FOLDER / "Dockerfile")


def test_dockerfile(dockerfile: list[tuple[str, str]]) -> None:
    known = {"FROM", "ARG", "RUN", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in dockerfile} <= known
    last = dict(dockerfile)
    assert int(last["USER"]) > 0
    entrypoint = json.loads(last["ENTRYPOINT"])
    assert entrypoint[:2] == ["tagnn-fast", "serve"]
    assert {word for word in entrypoint if word.startswith("--")} <= serve_options()
    assert entrypoint[entrypoint.index("--port") + 1] == last["EXPOSE"]
    checked = json.loads(last["HEALTHCHECK"].split(" CMD ")[1])
    compile(checked[-1], "HEALTHCHECK", "exec")
    port, path = re.findall(r"127\.0\.0\.1:(\d+)(/\w+)", checked[-1])[0]
    assert port == last["EXPOSE"]
    assert path in {route.path for route in routes.ROUTES}


def test_same_torch_as_the_makefile(dockerfile: list[tuple[str, str]]) -> None:
    pinned = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert any(name == "RUN" and pinned[1] in arguments.split() for name, arguments in dockerfile)


def test_context_has_what_the_build_reads() -> None:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert kept >= {"csrc", "tagnn_fast", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
    assert all((ROOT / name).exists() for name in kept)


def test_compose(dockerfile: list[tuple[str, str]]) -> None:
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert set(services) == {"recommender", "valkey", "prometheus"}
    recommender = services["recommender"]
    assert (FOLDER / recommender["build"]["context"] / recommender["build"]["dockerfile"]).samefile(
        FOLDER / "Dockerfile"
    )
    command = recommender["command"]
    assert {word for word in command if word.startswith("--")} <= serve_options()
    assert command[command.index("--sessions") + 1].startswith("valkey://valkey:6379/")
    assert all(set(service.get("depends_on", [])) <= set(services) for service in services.values())
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    assert (FOLDER / services["prometheus"]["volumes"][0].split(":")[0]).exists()


def test_prometheus() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert job["metrics_path"] in {route.path for route in metrics.ROUTES}
    assert job["static_configs"][0]["targets"] == ["recommender:8080"]
