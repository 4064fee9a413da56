"""What a release says of itself, in one voice."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from tagnn_fast.version import __version__
from tests.support import ROOT


def test_citation_and_changelog_name_the_version() -> None:
    """The newest version of the changelog is the package's, or the package's is not out yet."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](.*)$", changelog, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    released = [version for version, _ in headings[1:]]
    assert released[:1] in ([__version__], [])
    assert all(re.fullmatch(r" - \d{4}-\d{2}-\d{2}", date) for _, date in headings[1:])


def test_one_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["license"] == citation["license"] == "Apache-2.0"


def test_hooks_are_those_of_lint() -> None:
    """Every tool of `make lint` is a hook, with the same arguments."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = {hook["entry"].split()[0] for hook in hooks}
    rules = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert rules is not None
    assert set(re.findall(r"^\t\$\(BIN\)/(\S+)", rules[1], re.MULTILINE)) - {"cffconvert"} == entries


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_call_what_there_is(path) -> None:
    """Targets of the Makefile, and no secret."""
    content = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(content)
    assert workflow["permissions"] == {"contents": "read"}
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = [target for command in commands for target in re.findall(r"^make (\S+)", command, re.MULTILINE)]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert "secrets." not in content
