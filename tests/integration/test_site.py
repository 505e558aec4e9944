"""What `make site` builds is complete, has no broken link, and fetches nothing to be seen."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from rmsweep.paths import CHECKOUT


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given or (tag == "link" and "href" in given):
            self.loaded.append(given.get("src") or given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=CHECKOUT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there(site):
    pages = [
        *CHECKOUT.glob("docs/**/*.md"),
        *CHECKOUT.glob("outputs/*/README.md"),
        CHECKOUT / "README.md",
    ]
    for page in pages:
        path = page.relative_to(CHECKOUT).with_suffix(".html")
        name = "index.html" if path.stem in ("README", "index") else path.name
        assert (site / path.with_name(name)).is_file(), page


def test_no_link_is_broken_and_nothing_is_fetched(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) >= 15
    for path, page in pages.items():
        for target in page.links + page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                assert target in page.links, f"{path} loads {target}"
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = found / "index.html" if found.is_dir() else found
            assert found.is_file(), f"{path}: {target}"
            if parts.fragment and found in pages:
                assert unquote(parts.fragment) in pages[found].anchors, f"{path}: {target}"


def test_documentation_index_and_readme_link_to_every_page():
    index = (CHECKOUT / "docs/index.md").read_text()
    for page in CHECKOUT.glob("docs/**/*.md"):
        link = page.relative_to(CHECKOUT / "docs").as_posix()
        assert link == "index.md" or f"({link})" in index, page
    for page in CHECKOUT.glob("outputs/*/README.md"):
        assert f"({page.relative_to(CHECKOUT)})" in (CHECKOUT / "README.md").read_text(), page
