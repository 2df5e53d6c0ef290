"""The site as a browser shows it from disk: search, theme, tabs, copy buttons, a narrow screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bookbinder.build import build_book

FIXTURE = Path(__file__).parent / "book_fixture"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

SCRIPT = """
<pre id="findings"></pre>
<script>
window.addEventListener("load", () => setTimeout(() => {
  const found = {};
  const one = (s) => document.querySelector(s), all = (s) => [...document.querySelectorAll(s)];
  const page = () => getComputedStyle(document.body).backgroundColor;
  const look = (s) => getComputedStyle(one(s)).display;
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  found.menu = look(".bar");
  found.sidebar = look("#sidebar");
  if (found.menu !== "none") {
    one("button.menu").click();
    found.opened = look("#sidebar");
    one("button.menu").click();
  }
  const before = page();
  all("button.theme").at(-1).click();
  found.theme = [before, page(), look("img.light-content"), look("img.dark-content")];
  found.copy = [all(".listing").length, all(".listing .copy").length];
  const tabs = all("[role=tab]"), panels = all("[role=tabpanel]");
  tabs[1].click();
  const shown = panels.map((p) => getComputedStyle(p).display);
  found.tabs = [tabs.map((t) => t.getAttribute("aria-selected")), shown];
  one(".open-search").click();
  const input = one("dialog.search input");
  input.value = "footnote";
  input.dispatchEvent(new Event("input"));
  found.hits = all(".hits a").map((a) => [a.textContent, new URL(a.href).protocol]);
  input.value = "zzzzqqq";
  input.dispatchEvent(new Event("input"));
  found.nothing = one(".hits").textContent;
  one("#findings").textContent = JSON.stringify(found);
}, 100));
</script>
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("site") / "a book"
    shutil.copytree(FIXTURE, root)
    build_book(root, formats=("html",))
    page = root / "_book" / "report" / "one.html"
    text = page.read_text("utf-8").replace("</body>", SCRIPT + "</body>")
    (page.parent / "probe.html").write_text(text, "utf-8")
    return page.parent / "probe.html"


def probe(page: Path, width: int) -> dict:
    """What the script of the page finds on a screen of this width."""
    # Headless windows are never narrower than 500 px; a frame is as narrow as it is told to be.
    frame = page.with_name(f"frame-{width}.html")
    frame.write_text(
        f"<iframe id='f' src='probe.html' width='{width}' height='800'></iframe>"
        "<pre id='out'></pre><script>setInterval(() => { const found = "
        "document.getElementById('f').contentDocument?.getElementById('findings')?.textContent;"
        "if (found) document.getElementById('out').textContent = found; }, 50);</script>"
    )
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--allow-file-access-from-files", "--virtual-time-budget=5000"),
            *(f"--user-data-dir={page.parent / 'profile'}", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    assert found[1], "the script of the page did not end"
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module", params=[360, 1300])
def found(request, site) -> tuple[int, dict]:
    return request.param, probe(site, request.param)


def test_nothing_is_wider_than_the_screen(found):
    _, what = found
    assert what["overflow"] <= 0


def test_a_narrow_screen_has_a_menu_and_a_wide_one_the_sidebar(found):
    width, what = found
    narrow = width < 900
    assert (what["menu"] == "none") != narrow
    assert (what["sidebar"] == "none") == narrow
    if narrow:
        assert what["opened"] == "block"


def test_the_switch_changes_page_and_pictures(found):
    _, what = found
    before, after, light, dark = what["theme"]
    assert before != after
    assert (light == "none") != (dark == "none")


def test_every_listing_can_be_copied(found):
    _, what = found
    listings, buttons = what["copy"]
    assert listings == buttons > 1


def test_tabs_show_one_panel_at_a_time(found):
    _, what = found
    assert what["tabs"] == [["false", "true"], ["none", "block"]]


def test_search_finds_sections_of_other_chapters_from_disk(found):
    _, what = found
    titles = [hit[0] for hit in what["hits"]]
    assert any(title.startswith("Two") for title in titles)
    assert {hit[1] for hit in what["hits"]} == {"file:"}
    assert what["nothing"] == "Nothing found."
