"""Every command and every Python block of the documents runs, in their order, in a folder with the files they name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import tagnn_fast
from tests.docs.examples import write_files
from tests.support import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = {"csv", "json", "text"}  # languages of what is only shown
# Builds are tested on their own; here they are resolved and not made.
SHELL = f"""
set -euo pipefail
pip() {{ (cd "{ROOT}" && "{sys.executable}" -m pip "$1" --dry-run --no-index --no-build-isolation "${{@:2}}"); }}
make() {{ command make -C "{ROOT}" --dry-run "$@" > /dev/null; }}
"""


def run_commands(example: Example) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-c", SHELL + str(example.parsed)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout}\n{done.stderr}"


def document_of(path: Path) -> Document:
    parsers = [PythonCodeBlockParser(), CodeBlockParser(language="bash", evaluator=run_commands)]
    return Sybil(parsers).parse(path)


def run_document(path: Path, folder: Path) -> None:
    with chdir(folder):
        for example in document_of(path).examples():
            example.evaluate()


@pytest.fixture(scope="module")
def after_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which somebody has followed the tutorial."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_files(folder)
    run_document(ROOT / "docs/tutorial.md", folder)
    return folder


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_runs(path: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The README by itself, the others after the tutorial."""
    if path.name == "README.md":
        write_files(tmp_path)
        run_document(path, tmp_path)
    else:
        after_tutorial = request.getfixturevalue("after_tutorial")
        if path.name != "tutorial.md":  # which has run
            run_document(path, Path(shutil.copytree(after_tutorial, tmp_path / "work")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_says_what_it_is(path: Path) -> None:
    """One without a language would not be run."""
    fences = [line[3:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("```")]
    languages = fences[::2]
    assert set(languages) <= {"bash", "python", *SHOWN}
    assert sum(language not in SHOWN for language in languages) == len(list(document_of(path).examples()))


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "docs/site/index.md"], ids=lambda path: path.name
)
def test_links(path: Path) -> None:
    """Files that documents name are there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_marks_of_docstrings(path: Path) -> None:
    """A role of reStructuredText is shown as it stands in Markdown."""
    assert not re.findall(r":\w+:`", path.read_text(encoding="utf-8"))


def test_every_public_name() -> None:
    names = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted([*names, "__version__"]) == sorted(tagnn_fast.__all__)
