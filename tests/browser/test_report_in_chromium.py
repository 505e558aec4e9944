"""The report in a real, headless Chromium, opened from file://, by mouse and by keyboard."""

import re

import pytest
from helpers.commands import need
from helpers.report_data import IMAGE, SCRIPT, write_sweep

from rmsweep.analysis.report import page
from rmsweep.analysis.report.request import ReportRequest

# Of every text: its contrast with the first ground below it that is not transparent (WCAG 2).
CONTRASTS = """() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 10.31 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility() || node.closest("script")) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.data.trim()]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium."""
    chromium = need("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The file of a report whose labels are hostile, of a sweep that is not whole."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rmsweep.paths.OUTPUTS", root / "outputs")
        write_sweep(
            root / "outputs/made",
            is_done=lambda s: s["seed"] < 4,
            is_failed=lambda s: s["loss"] == "bt_mlp",
        )
        page.write_page(page.build_page(ReportRequest(("made",), (), {}, 0)), root / "report.html")
    return root / "report.html"


@pytest.fixture
def opened(browser, path):
    """opened(options of a page): the report in a new page, which may ask for nothing else.

    After the test: nothing was asked for but the file itself and data, and the console is empty.
    """
    contexts, asked, said = [], [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()] * len(contexts)


def column(page, table, number):
    """Texts of a column's cells that are shown."""
    cells = page.locator(f"#{table} tbody tr:not([hidden]) > :nth-child({number})")
    return cells.all_text_contents()


def numbers(texts):
    return [float(text.split()[0]) for text in texts if text != "-"]


def test_it_opens_whole(opened):
    page = opened()
    assert page.title().startswith("made: report")
    page.locator("#figures").scroll_into_view_if_needed()
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert "192 of 240 runs done" in page.locator("header").inner_text()


def test_labels_of_data_stay_text(opened):
    page = opened()
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert "broken" not in page.title()
    assert SCRIPT in page.locator("#runs").inner_text()
    assert {SCRIPT, "hh_helpful"} == set(column(page, "table-settings", 2))
    assert IMAGE in column(page, "table-settings", 3)


def test_a_policy_stops_scripts_that_are_not_ours(browser, path):
    page = browser.new_page()
    page.goto(path.as_uri())
    blocked = page.evaluate(
        "() => new Promise((resolve) => {"
        " addEventListener('securitypolicyviolation', (e) => resolve(e.violatedDirective));"
        " const own = document.createElement('div');"
        ' own.innerHTML = \'<img src="data:," onerror="document.title = 1">\';'
        " document.body.append(own); })"
    )
    assert blocked.startswith("script-src") and page.title().startswith("made")
    page.close()


def test_sorting_by_mouse(opened):
    page = opened()
    head = page.locator("#table-settings thead th", has_text="improvement")
    before = column(page, "table-settings", 6)
    assert head.get_attribute("aria-sort") is None
    for direction, expected in (("ascending", sorted), ("descending", lambda x: sorted(x)[::-1])):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        shown = numbers(column(page, "table-settings", 6))
        assert shown == expected(numbers(before)) and len(shown) == len(before)
    page.locator("#table-settings thead button").first.click()
    assert page.locator("#table-settings [aria-sort]").count() == 1
    assert column(page, "table-settings", 1) == sorted(column(page, "table-settings", 1))


def test_sorting_by_keyboard_with_the_focus_seen(opened):
    page = opened()
    head = page.locator("#table-improvement thead th").nth(1)
    page.locator("#table-improvement thead button").first.focus()
    page.keyboard.press("Tab")
    button = head.get_by_role("button")
    assert button.evaluate("node => node === document.activeElement")
    assert button.evaluate("node => parseFloat(getComputedStyle(node).outlineWidth)") >= 2
    for key, direction in (("Enter", "ascending"), ("Space", "descending")):
        page.keyboard.press(key)
        assert head.get_attribute("aria-sort") == direction
    shown = numbers(column(page, "table-improvement", 2))
    assert shown == sorted(shown, reverse=True) and len(shown) == 3


def test_filtering_by_mouse_and_by_keyboard(opened):
    page = opened()
    tools = page.locator(".tools[data-for=table-settings]")
    all_lines = len(column(page, "table-settings", 1))
    tools.get_by_label("loss").select_option(label="clf_mlp")
    assert set(column(page, "table-settings", 1)) == {"clf_mlp"}
    assert tools.locator("output").inner_text() == f"{all_lines // 3} of {all_lines} lines"
    tools.get_by_label("Filter").focus()
    page.keyboard.type("HH_helpful gemma2b")
    assert set(column(page, "table-settings", 2)) == {"hh_helpful"}
    assert len(column(page, "table-settings", 1)) == all_lines // 12
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")  # of the loss's options: all
    assert len(column(page, "table-settings", 1)) == all_lines
    assert tools.locator("output").inner_text() == ""
    page.locator("#table-settings thead button").first.click()
    tools.get_by_label("quantity").select_option(label="1000")
    assert set(column(page, "table-settings", 4)) == {"1000"}


def test_the_keyboard_reaches_all_and_skips_first(opened):
    page = opened()
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the report" and skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.locator(":focus").get_attribute("id") == "main"
    names = page.locator("main .scroll").evaluate_all(
        "all => all.map(n => [n.tabIndex, n.ariaLabel])"
    )
    assert len(names) > 4 and all(index == 0 and name for index, name in names)
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(n => +n.tagName[1])")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(opened, scheme):
    page = opened(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    page.locator("summary").first.click()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 300 and min(found)[0] >= 4.5, min(found)


def test_it_fits_a_phone_and_prints_light_and_open(opened):
    page = opened(color_scheme="dark", viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert not page.locator("nav").is_visible() and not page.locator(".tools").first.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("#table-settings tbody tr:visible").count() == 40
    assert "first 40 of 48" in page.locator("#tables").inner_text()
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 20


def test_it_reads_without_script(browser, path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#table-improvement tbody tr").count() == 3
    assert not page.locator(".tools").first.is_visible()
    context.close()
