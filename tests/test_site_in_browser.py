"""The site as a browser shows it from disk, on a narrow and on a wide screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pypdf
import pytest

from bookbinder.build import build_book

FIXTURE = Path(__file__).parent / "book_fixture"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

FEATURES = """
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
  one(".open-search").click();
  const input = one("dialog.search input");
  input.value = "footnote";
  input.dispatchEvent(new Event("input"));
  found.hits = all(".hits a").map((a) => [a.textContent, new URL(a.href).protocol]);
  input.value = "zzzzqqq";
  input.dispatchEvent(new Event("input"));
  found.nothing = one(".hits").textContent;
"""

WIDE = """
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const boxes = all("main pre, main .table-box, main .scroll-box, main .math-box");
  const facts = (box) => [box.className.split(" ")[0], box.scrollWidth > box.clientWidth + 1,
    box.tabIndex, box.getAttribute("role"), box.getAttribute("aria-label")];
  found.boxes = boxes.map(facts);
  found.hints = all(".scroll-hint").map((hint) => [hint.hidden, hint.nextElementSibling.className]);
  const picture = one("#fig-wide img");
  found.picture = [picture.clientWidth, picture.width / picture.height];
  found.card = all(".stacked tbody tr:first-child td").map((cell) =>
    [getComputedStyle(cell).display, getComputedStyle(cell, "::before").content]);
  found.colours = all("*").filter((e) => getComputedStyle(e).backgroundImage.includes("gradient"));
"""

LEDGER = """
  const cells = (n) => all(`.sortable tbody tr:not([hidden]) td:nth-child(${n})`)
    .map((cell) => cell.textContent);
  const [, value] = all(".sort");
  const state = () => all(".sortable th").map((head) => head.getAttribute("aria-sort"));
  const sorted = () => { value.click(); return [state()[1], ...cells(2)]; };
  found.sorted = [sorted(), sorted(), sorted()];
  const [choice] = all(".filter select"), [words] = all(".filter input");
  found.choices = [...choice.options].map((option) => option.value);
  choice.value = "not supported";
  choice.dispatchEvent(new Event("input", { bubbles: true }));
  found.chosen = [cells(1), one(".filter output").textContent];
  words.value = "rank bound";
  words.dispatchEvent(new Event("input", { bubbles: true }));
  found.typed = cells(1);
  location.hash = "#row-entropy";
  await wait(200);
  found.linked = cells(1).length;
"""

LINKS = """
  found.tops = [];
  for (const link of all("main h2 a.anchor, main h3 a.anchor")) {
    link.click();
    await wait(150);
    found.tops.push(link.parentElement.getBoundingClientRect().top);
  }
  found.sizes = all("main img").map((i) => [i.getAttribute("width"), i.getAttribute("height")]);
  found.smooth = getComputedStyle(document.documentElement).scrollBehavior;
"""

FOLDED = """
  const box = one("details.callout");
  found.before = box.open;
  location.hash = "#inside";
  await wait(200);
  found.linked = box.open;
  box.open = false;
  window.dispatchEvent(new Event("beforeprint"));
  found.printed = box.open;
  window.dispatchEvent(new Event("afterprint"));
  found.after = box.open;
"""

BARE = """
  const shown = (s) => all(s).filter((e) => e.checkVisibility()).length;
  found.buttons = shown("button:not(dialog button)");
  found.chapters = shown("#sidebar li a");
  found.place = getComputedStyle(one("#sidebar")).position;
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("site") / "a book"
    shutil.copytree(FIXTURE, root)
    build_book(root, formats=("html",))
    return root / "_book" / "report"


def probe(site: Path, name: str, script: str, width: int, *, scripts: bool = True) -> dict:
    """What a script finds on a page on a screen of this width, with the page's own scripts or not.

    A headless window is never narrower than 500 px; a frame is as narrow as it is told to be.
    """
    text = (site / name).read_text("utf-8")
    if not scripts:
        text = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
    run = (
        '<pre id="findings"></pre><script>window.addEventListener("load", () => setTimeout('
        "async () => { const found = {}, wait = (ms) => new Promise((go) => setTimeout(go, ms));"
        "const one = (s) => document.querySelector(s);"
        f"const all = (s) => [...document.querySelectorAll(s)];\n{script}\n"
        'one("#findings").textContent = JSON.stringify(found); }, 100));</script>'
    )
    (site / "probe.html").write_text(text.replace("</body>", run + "</body>"), "utf-8")
    frame = site / "frame.html"
    frame.write_text(
        f"<iframe id='f' src='probe.html' width='{width}' height='800'></iframe>"
        "<pre id='out'></pre><script>setInterval(() => { const found = "
        "document.getElementById('f').contentDocument?.getElementById('findings')?.textContent;"
        "if (found) document.getElementById('out').textContent = found; }, 50);</script>"
    )
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--allow-file-access-from-files", "--virtual-time-budget=8000"),
            *(f"--user-data-dir={site / 'profile'}", frame.as_uri()),
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
    return request.param, probe(site, "one.html", FEATURES, request.param)


@pytest.fixture(scope="module", params=[360, 1300])
def wide(request, site) -> tuple[int, dict]:
    return request.param, probe(site, "four.html", WIDE, request.param)


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


def test_search_finds_sections_of_other_chapters_from_disk(found):
    _, what = found
    titles = [hit[0] for hit in what["hits"]]
    assert any(title.startswith("Two") for title in titles)
    assert {hit[1] for hit in what["hits"]} == {"file:"}
    assert what["nothing"] == "Nothing found."


def test_a_box_that_scrolls_can_be_reached_by_keyboard_and_has_a_name(wide):
    width, what = wide
    assert what["overflow"] <= 0
    for kind, scrolls, tabindex, role, label in what["boxes"]:
        assert (tabindex, role) == ((0, "group") if scrolls else (-1, None)), kind
        assert bool(label) == scrolls
    scrolling = [box for box in what["boxes"] if box[1]]
    if width == 360:
        assert {box[0] for box in scrolling} >= {"table-box", "scroll-box", "math-box"}
        assert "Table 4.1: A table with many columns." in [box[4] for box in scrolling]
    assert all(hidden != ("scrolls" in box) for hidden, box in what["hints"])


def test_on_a_narrow_screen_figures_keep_their_size_and_rows_of_words_become_cards(wide):
    width, what = wide
    shown, ratio = what["picture"]
    assert shown >= 500, "text of nine points stays readable"
    assert ratio == pytest.approx(7 / 3, rel=0.01)
    displays = [display for display, _ in what["card"]]
    if width == 360:
        assert displays == ["block"] * 3
        assert [text for _, text in what["card"]] == ["none", '"answer: "', '"where: "']
    else:
        assert displays == ["table-cell"] * 3
    assert what["colours"] == [], "contrast of text over a gradient cannot be checked"


def test_a_ledger_is_sorted_by_its_headings_and_filtered(site):
    what = probe(site, "four.html", LEDGER, 1300)
    values = ["5.2 bits [4.7, 5.7]", "−1.5", "1,024 tokens", "12", "3", "0.5"]
    up = ["−1.5", "0.5", "3", "5.2 bits [4.7, 5.7]", "12", "1,024 tokens"]
    assert what["sorted"] == [["ascending", *up], ["descending", *up[::-1]], ["none", *values]]
    assert what["choices"] == ["", "not supported", "supported"]
    assert len(what["chosen"][0]) == 3
    assert what["chosen"][1] == "3 of 6 rows"
    assert what["typed"] == ["Rank is bounded."]
    assert what["linked"] == 6, "a link to a row that is filtered out shows it"


@pytest.mark.parametrize("width", [360, 1300])
def test_links_into_a_page_lead_to_the_right_place(site, width):
    what = probe(site, "four.html", LINKS, width)
    last = what["tops"].pop()
    assert what["tops"]
    assert all(0 <= top <= 80 for top in what["tops"])
    assert 0 <= last <= 800, "what stands near the end cannot come to the top"
    assert what["smooth"] == "auto"
    assert all(side and int(side) > 0 for size in what["sizes"] for side in size)


def test_a_link_opens_a_closed_box_and_print_opens_every_one(site):
    what = probe(site, "four.html", FOLDED, 1300)
    assert what == {"before": False, "linked": True, "printed": True, "after": False}


def test_without_scripts_a_phone_shows_the_chapters_and_no_dead_button(site):
    what = probe(site, "one.html", BARE, 360, scripts=False)
    assert what["buttons"] == 0
    assert what["chapters"] >= 7
    assert what["place"] == "static"
    assert what["overflow"] <= 0


def test_the_printed_page_has_the_code_and_what_is_folded(site):
    out = site / "printed.pdf"
    subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            *(f"--user-data-dir={site / 'profile'}", f"--print-to-pdf={out}"),
            (site / "four.html").as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    text = "".join("".join(p.extract_text() for p in pypdf.PdfReader(out).pages).split())
    for words in ("root=sqrt(16)", "whichistobewrapped", "exponent", "seconds"):
        assert words in text, words
    assert "Filterrows" not in text
