"""The site builds without a warning and asks the network for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.doc_tables import DOCS, pages

ZENSICAL = Path(sys.executable).with_name("zensical")


@pytest.mark.skipif(not ZENSICAL.exists(), reason="zensical is not installed: uv sync --group docs")
def test_it_builds_strictly_and_no_page_loads_anything_from_elsewhere(tmp_path: Path):
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("build", ".cache"))
    done = subprocess.run(
        (ZENSICAL, "build", "--strict", "-f", "docs/zensical.toml"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, done.stdout + done.stderr)
    built = tmp_path / "docs/build"
    assert {path.stem for path in built.glob("*.html")} >= {page.stem for page in pages()}
    loaded = {
        (page.name, address)
        for page in built.rglob("*.html")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text())
        for address in re.findall(r"(?:src|href)=[\"']?(https?:|//)", tag)
    }
    assert loaded == set()
    fonts = [
        path.name
        for path in built.rglob("*.css")
        if re.search(r"url\([\"']?(?:https?:)?//", path.read_text())
    ]
    assert fonts == []
