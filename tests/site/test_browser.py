"""What a reader can do with the site: by mouse, keyboard, on a phone, without scripts."""

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.site.conftest import DESKTOP, PHONE, ROOT, SITE, OpenPage

HOME = ""
TASK = "tasks/claim_stalled/"
OTHER = "tasks/append/"
LEDGER = "evidence/claims/"
LOSS = "evidence/loss/"

# For every set of tabs on the page, the label of the chosen one.
CHOSEN = """() => Array.from(
    document.querySelectorAll(".tabbed-set > input:checked"),
    input => document.querySelector(`label[for="${input.id}"]`).textContent.trim())"""

ANCHOR = re.compile(r"^#+ .*\{#([\w-]+)\}\s*$", re.MULTILINE)


def tab(page: Page, name: str) -> Locator:
    """Return the first tab of that name on the page."""
    return page.locator(".tabbed-labels > label", has_text=name).first


def test_walking_from_home_to_a_task_goes_without_complaint(open_page: OpenPage) -> None:
    # The fixture fails on anything in the console and on any request to another host.
    page = open_page(HOME)
    page.locator(".md-tabs__link", has_text="Tasks").click()
    expect(page).to_have_url(re.compile("/tasks/$"))
    page.locator(f"article a[href*='{Path(TASK).name}']").first.click()
    expect(page).to_have_url(re.compile(f"/{TASK}$"))
    # The theme swaps pages without loading them; the site's own script must follow.
    expect(page.locator(".md-code__nav[role=presentation]").first).to_be_attached()
    expect(page.locator(".md-code__nav:not([role])")).to_have_count(0)


def test_choosing_a_system_chooses_it_in_all_tabs_of_all_pages(
    open_page: OpenPage, base_url: str, paths: list[str]
) -> None:
    page = open_page(TASK)
    assert set(page.evaluate(CHOSEN)) == {"Redis Streams"}
    tab(page, "Kafka").click()
    tabs = 0
    # Two of the tasks will do: all are made in the same way.
    others = [path for path in paths if not path.startswith("tasks/")]
    for path in [TASK, OTHER, *others]:
        if page.url != base_url + path:
            page.goto(base_url + path)
        page.wait_for_function(f"({CHOSEN})().every(label => label === 'Kafka')")
        tabs += len(page.evaluate(CHOSEN))
    assert tabs > 1


def search(page: Page, words: str) -> None:
    """Type words into the search box, and wait for the results."""
    page.locator(".md-search__input").click()
    # The theme listens to keys: filling the box in one go finds nothing.
    page.locator(".md-search__input").press_sequentially(words)
    expect(page.locator(".md-search-result__meta")).to_contain_text("matching document")


def test_search_finds_the_task_for_a_symptom(open_page: OpenPage) -> None:
    page = open_page(HOME)
    search(page, "dead consumer")
    found = page.locator(".md-search-result__link").evaluate_all(
        "links => links.map(link => link.pathname)"
    )
    assert [path for path in found if path.endswith(TASK)]


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with the page as it stands."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['target'][0]}: {node['html'][:200]}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", [HOME, TASK, LEDGER, LOSS], ids=["home", "task", "ledger", "loss"]
)
def test_axe_finds_nothing(
    open_page: OpenPage, path: str, scheme: str, viewport: dict[str, int]
) -> None:
    page = open_page(path, color_scheme=scheme, viewport=viewport)
    schemes = {"light": "default", "dark": "slate"}
    expect(page.locator("body")).to_have_attribute(
        "data-md-color-scheme", schemes[scheme]
    )
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_search_results(open_page: OpenPage, scheme: str) -> None:
    page = open_page(HOME, color_scheme=scheme)
    search(page, "dead consumer")
    assert violations(page) == []


def focused(page: Page) -> Locator:
    """Return the element that has the focus."""
    return page.locator(":focus")


def press_tab_until(page: Page, selector: str) -> None:
    """Move the focus on until an element that matches has it; 200 steps are enough."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if focused(page).and_(page.locator(selector)).count():
            return
    pytest.fail(f"Tab never reaches {selector}")


def test_a_keyboard_is_enough(open_page: OpenPage) -> None:
    page = open_page(TASK)
    page.keyboard.press("Tab")
    expect(focused(page)).to_contain_class("md-skip")
    press_tab_until(page, ".md-search__input")
    page.keyboard.press("Escape")
    press_tab_until(page, ".tabbed-set > input")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"({CHOSEN})().every(label => label === 'Kafka')")
    expect(page.locator(".tabbed-block:visible").first).to_contain_text("KafkaConsumer")


def test_the_skip_link_leads_past_the_navigation(open_page: OpenPage) -> None:
    page = open_page(TASK)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(":target")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator("article :focus")).to_have_count(1)


def test_without_javascript_all_of_it_can_be_read(open_page: OpenPage) -> None:
    page = open_page(TASK, java_script_enabled=False)
    expect(page.locator("article h1")).to_be_visible()
    block = page.locator(".tabbed-block:visible").first
    expect(block).to_contain_text("xautoclaim")
    tab(page, "Kafka").click()
    expect(block).to_contain_text("KafkaConsumer")
    page = open_page(HOME, java_script_enabled=False)
    expect(page.locator("article table").first).to_be_visible()
    expect(page.locator("#durability")).to_be_visible()


def test_no_page_is_wider_than_a_phone(open_page: OpenPage, paths: list[str]) -> None:
    page = open_page(HOME, viewport=PHONE)
    home = page.url
    wide = []
    for path in paths:
        page.goto(home + path)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide.append(f"{path}: {width} pixels")
    assert wide == []


def test_the_comparison_is_two_columns_wide_enough_on_a_phone(
    open_page: OpenPage,
) -> None:
    page = open_page(HOME, viewport=PHONE)
    table = page.locator("#head-to-head ~ * table").first
    cells = table.locator("tbody td:not(:first-child)")
    assert cells.count() >= 2 * 20
    assert min(cells.evaluate_all("cells => cells.map(each => each.offsetWidth)")) > 150
    # The names of the systems stay in sight while the rows pass.
    cells.last.scroll_into_view_if_needed()
    expect(table.locator("thead th").last).to_be_in_viewport()


def test_a_link_to_a_section_shows_its_heading(open_page: OpenPage) -> None:
    page = open_page(f"{HOME}#durability")
    header = page.locator(".md-header").bounding_box()
    heading = page.locator("#durability").bounding_box()
    assert header
    assert heading
    assert header["y"] + header["height"] <= heading["y"] < DESKTOP["height"]


def test_every_anchor_that_a_page_promises_is_there() -> None:
    missing = []
    for source in sorted((ROOT / "docs").rglob("*.md")):
        page = source.relative_to(ROOT / "docs")
        folder = page.parent if page.stem == "index" else page.with_suffix("")
        built = SITE / Path(folder) / "index.html"
        html = built.read_text("utf-8")
        missing += [
            f"{page}#{anchor}"
            for anchor in ANCHOR.findall(source.read_text("utf-8"))
            if f'id="{anchor}"' not in html
        ]
    assert missing == []


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_cheat_sheet_prints_on_one_page(open_page: OpenPage, paper: str) -> None:
    printed = open_page("tasks/cheat_sheet/").pdf(format=paper)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
