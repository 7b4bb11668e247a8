"""The page, in a real browser in front of a real server."""

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import pytest
import uvicorn

from tests.serving.fake import FakeEngine
from twofold.records import Request
from twofold.serving.app import create_app
from twofold.serving.engines.engine import Contribution, ScoredItem, TopK
from twofold.serving.http.keys import Key

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("TWOFOLD_TEST_BROWSER") != "required",
        reason="chromium is not installed: apt-get install chromium",
    ),
]
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
LONG = "W" * 90 + " and a title that is much longer than any phone is wide" + " 𝐚" * 9000
NEW = [
    {"item_id": "hostile", "title": HOSTILE, "genres": HOSTILE},
    {"item_id": "long", "title": LONG, "genres": "Endless"},
]


class PageEngine(FakeEngine):
    """The fake with two difficult titles, and one part that counts against an item.

    Args:
        name: the name under which the model is served.
        skips: how many of the fake's best items it does not find.

    It is trained for the task that it is named after, or else for both.
    """

    def __init__(self, name: str = "joint", skips: int = 0) -> None:
        tasks = (name,) if name in ("search", "recommendation") else ("search", "recommendation")
        super().__init__(name, model_version=f"version-of-{name}", tasks=tasks)
        self.skips = skips
        self.add(NEW)

    def answer(self, asked: Sequence[TopK]) -> list[list[ScoredItem]]:
        if any(each.request.query == "slow" for each in asked):
            time.sleep(0.4)
        more = [TopK(each.request, each.k + self.skips) for each in asked]
        return [found[self.skips :] for found in super().answer(more)]

    def explain(self, request: Request, item_id: str) -> tuple[float, list[Contribution]]:
        score, parts = super().explain(request, item_id)
        return score, [
            part._replace(score=-0.25) if part.value == "against" else part for part in parts
        ]


@contextmanager
def serving(*engines: FakeEngine, keys: Sequence[Key] = ()) -> Iterator[str]:
    """The address of a server with these engines."""
    app = create_app({engine.name: engine for engine in engines}, keys=keys)
    config = uvicorn.Config(app, port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def one_model() -> Iterator[str]:
    with serving(PageEngine()) as address:
        yield address


@pytest.fixture(scope="module")
def study() -> Iterator[str]:
    engines = PageEngine(), PageEngine("search", skips=2), PageEngine("recommendation", skips=2)
    with serving(*engines) as address:
        yield address


Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Open]:
    """Open an address; fails afterwards if the page logged anything that was not `expected`."""
    said: list[str] = []
    expected: list[str] = []
    contexts = []

    def opened(address: str, expect: str = "", **options: Any) -> "Page":
        expected.extend([expect] if expect else [])
        base = urljoin(address, "/")
        contexts.append(browser.new_context(base_url=base, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [line for line in said if not any(part in line for part in expected)] == []


def shows(page: "Page", words: str, exactly: bool = False) -> None:
    """Wait until the line above the results says so."""
    from playwright.sync_api import expect

    line = expect(page.get_by_role("status"))
    (line.to_have_text if exactly else line.to_contain_text)(words)


def answered(page: "Page") -> None:
    """Wait until every request is answered."""
    from playwright.sync_api import expect

    expect(page.locator("[aria-busy]")).to_have_count(0)


def found(page: "Page", column: int = 0) -> list[str]:
    """The titles of the results."""
    return page.locator(".column").nth(column).locator(".title").all_inner_texts()


def api(page: "Page", **body: Any) -> list[str]:
    """The titles that the API answers."""
    answer = page.request.post("/retrieve", data=body)
    assert answer.ok, answer.text()
    return [item["title"] for item in answer.json()["items"]]


def fits(page: "Page") -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_search_as_one_types(one_model: str, open_page: Open) -> None:
    page = open_page(one_model)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    page.clock.pause_at(time.time() + 60)
    page.get_by_role("searchbox").press_sequentially("space opera")
    page.clock.run_for(140)
    assert not any(url.endswith("/retrieve") for url in asked)
    page.clock.run_for(20)
    shows(page, "search 10 items for “space opera”")
    assert found(page) == api(page, query="space opera")
    assert sum(url.endswith("/retrieve") for url in asked) == 1
    assert "model version-of-joint" in page.locator("footer").inner_text()
    page.get_by_role("button", name="More items").click()
    shows(page, "20 items")
    assert found(page) == api(page, query="space opera", k=20)
    items = page.locator(".result").evaluate_all("rows => rows.map((row) => row.dataset.item)")
    assert page.evaluate("document.activeElement.closest('li').dataset.item") == items[10]


def test_a_stale_answer_is_dropped(one_model: str, open_page: Open) -> None:
    page = open_page(one_model)
    with page.expect_request("**/retrieve"):
        page.get_by_role("searchbox").fill("slow")
    page.get_by_role("searchbox").fill("quick")
    shows(page, "for “quick”")
    page.wait_for_timeout(500)
    shows(page, "for “quick”")
    assert found(page) == api(page, query="quick")


def test_results_fill_a_history_that_recommends(one_model: str, open_page: Open) -> None:
    page = open_page(one_model + "?query=space")
    first, second = found_first(page, 2)
    page.get_by_role("button", name=f"{first}, add to the history").click()
    shows(page, "search, personal")
    page.get_by_role("searchbox").fill("")
    shows(page, "recommendation 10 items after a history of 1 item")
    assert first not in found(page)
    page.goto(one_model + "?query=space")
    page.get_by_role("button", name=f"{second}, add to the history").click()
    shows(page, "given a history of 1 item")
    page.get_by_role("button", name=f"Remove {second} from the history").click()
    shows(page, "search 10 items")
    page.locator(".pick").nth(0).click()
    page.get_by_role("button", name="Clear the history").click()
    shows(page, "search 10 items")
    assert page.locator("#history li").count() == 0


def found_first(page: "Page", most: int) -> list[str]:
    page.locator(".title").first.wait_for()
    return found(page)[:most]


def test_titles_fill_a_history_next_to_a_query(one_model: str, open_page: Open) -> None:
    from playwright.sync_api import expect

    page = open_page(one_model)
    box = page.get_by_role("combobox", name="Add a title")
    box.press_sequentially("film 11")
    expect(page.get_by_role("option").first).to_have_text("Film 11")
    box.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == "suggestion-1"
    box.press("Enter")
    shows(page, "recommendation")
    assert page.locator("#history li span").all_inner_texts() == ["Film 110"]
    assert found(page) == api(page, history=["f110"])
    box.press_sequentially("nïco")
    page.get_by_role("option", name="Ünïcode").click()
    shows(page, "after a history of 2 items")
    page.get_by_role("searchbox").fill("space")
    shows(page, "search, personal 10 items for “space”, given a history of 2 items")
    assert found(page) == api(page, query="space", history=["f110", "ü ?#%"])
    box.press("Backspace")
    shows(page, "given a history of 1 item")


def test_keys_of_an_input_method_are_its_own(one_model: str, open_page: Open) -> None:
    """Enter commits the characters that are composed, and arrows choose among them."""
    compose = (
        "(box, key) => box.dispatchEvent(new KeyboardEvent('keydown', "
        "{ key, isComposing: true, bubbles: true, cancelable: true }))"
    )
    page = open_page(one_model + "?query=space")
    page.locator(".result").first.wait_for()
    page.get_by_role("combobox").press_sequentially("film 11")
    page.get_by_role("option").first.wait_for()
    page.get_by_role("combobox").evaluate(compose, "Enter")
    assert page.locator("#history li").count() == 0
    page.get_by_role("searchbox").focus()
    page.get_by_role("searchbox").evaluate(compose, "ArrowDown")
    assert page.evaluate("document.activeElement.id") == "query"
    page.get_by_role("searchbox").press("ArrowDown")
    assert page.evaluate("document.activeElement.className") == "pick"


def test_filters_from_the_results(one_model: str, open_page: Open) -> None:
    page = open_page(one_model + "?query=space")
    page.get_by_role("group", name="genres").get_by_role("button", name="Drama").click()
    page.wait_for_url("**/?query=space&filter.genres=Drama")
    answered(page)
    assert found(page) == api(page, query="space", filters={"genres": "Drama"})
    page.get_by_role("button", name="Comedy").click()
    answered(page)
    assert found(page) == api(page, query="space", filters={"genres": ["Drama", "Comedy"]})
    assert page.get_by_role("button", name="Drama").get_attribute("aria-pressed") == "true"
    shows(page, "10 items for “space”, only Drama or Comedy")
    page.get_by_role("button", name="Clear the filters").click()
    page.wait_for_url("**/?query=space")
    page.goto(one_model + "?query=space&filter.genres=None")
    page.get_by_text("No item passes these filters").wait_for()


def test_two_models_side_by_side(study: str, open_page: Open) -> None:
    page = open_page(study + "?query=space")
    shows(page, "search")
    page.get_by_role("switch", name="Compare").click()
    shows(page, "8 of 10 items in both lists")
    joint, single = found(page), found(page, 1)
    assert joint == api(page, query="space", model="joint")
    assert single == api(page, query="space", model="search")
    assert page.locator(".column").nth(1).get_by_text("trained for search alone").count() == 1
    marks = [page.locator(".column").nth(n).locator(".mark").all_inner_texts() for n in (0, 1)]
    assert marks[0] == ["◆ only here"] * 2 + ["▼ 2 lower"] * 8
    assert marks[1] == ["▲ 2 higher"] * 8 + ["◆ only here"] * 2
    page.get_by_role("button", name=f"{joint[0]}, add").click()
    page.get_by_role("searchbox").fill("")
    shows(page, "recommendation")
    assert page.get_by_text("trained for recommendation alone").count() == 1
    assert found(page, 1) == api(page, history=[item_id(page, joint[0])], model="recommendation")


def item_id(page: "Page", title: str) -> str:
    answer = page.request.get("/titles", params={"q": title, "k": "1"})
    return str(answer.json()["items"][0]["item_id"])


def test_one_model_has_nothing_to_compare(one_model: str, open_page: Open) -> None:
    page = open_page(one_model + "?query=space&compare=1")
    shows(page, "no single-task model is served for this request")
    assert page.locator(".column").count() == 1
    assert not page.locator("#compare").is_visible()


def test_each_task_is_for_a_model_that_was_trained_for_it(open_page: Open) -> None:
    with serving(PageEngine("search"), PageEngine("recommendation")) as address:
        page = open_page(address + "?query=space")
        shows(page, "search 10 items")
        assert found(page) == api(page, query="space", model="search")
        page.goto(address + "?history=1")
        shows(page, "recommendation 10 items")
        assert found(page) == api(page, history=["1"], model="recommendation")


def test_a_model_of_one_task_says_that_it_was_not_trained_for_the_other(open_page: Open) -> None:
    with serving(PageEngine("search")) as address:
        page = open_page(address + "?history=1", expect="Failed to load resource")
        page.get_by_text("model 'search' was trained for search alone").wait_for()
        page.get_by_role("button", name="Clear the history").click()
        examples = page.locator(".welcome li")
        examples.first.wait_for()
        assert [words.split()[0] for words in examples.all_inner_texts()] == ["search", "search,"]
        page.get_by_role("searchbox").fill("space")
        shows(page, "search 10 items")


@pytest.mark.parametrize(
    ("models", "title", "words"),
    [
        (["joint"], "do both", "One model answers all three."),
        (["search", "recommendation"], "do both", "the search is personal."),
        (["search"], "Type a query.", "make the search personal."),
        (["recommendation"], "Add titles you liked.", "and does not search."),
    ],
)
def test_the_first_page_invites_to_what_the_models_were_trained_for(
    models: list[str], title: str, words: str, open_page: Open
) -> None:
    with serving(*map(PageEngine, models)) as address:
        page = open_page(address)
        page.locator(".welcome h2").get_by_text(title).wait_for()
        assert page.locator(".welcome p").inner_text().endswith(words)


def test_why_an_item_came_back(study: str, open_page: Open) -> None:
    page = open_page(study + "?query=space+against&history=1")
    shows(page, "search, personal")
    why = page.locator(".why").nth(2)
    why.click()
    parts = page.locator(".parts li")
    parts.nth(2).wait_for()
    words = [re.sub(r"\s+", " ", part) for part in parts.all_inner_texts()]
    assert words[0] == "history Alpha +0.50 raises it, ×1.6"
    assert words[1] == "query space +0.25 raises it, ×1.3"
    assert words[2] == "query against −0.25 lowers it, ÷1.3"
    widths = [parts.nth(n).locator(".bar").bounding_box() for n in range(3)]
    long, short, against = [box for box in widths if box]
    assert long["width"] == pytest.approx(2 * short["width"], abs=1)
    assert against["x"] + against["width"] == pytest.approx(short["x"], abs=1)
    assert why.get_attribute("aria-expanded") == "true"
    why.click()
    assert parts.count() == 0


def test_by_keyboard_alone(study: str, open_page: Open) -> None:
    page = open_page(study)
    page.get_by_text("Type a query, add").wait_for()
    press = page.keyboard.press
    press("/")
    page.keyboard.type("space")
    shows(page, "search")
    answered(page)
    press("ArrowDown")
    press("ArrowDown")
    focused = "document.activeElement.querySelector('.title')?.textContent"
    picked = found(page)[1]
    assert page.evaluate(focused) == picked
    press("?")
    page.locator(".parts").wait_for()
    press("Escape")
    assert page.locator(".parts").count() == 0
    assert page.evaluate(focused) == picked
    press("Enter")
    shows(page, "search, personal")
    assert page.locator("#history li span").all_inner_texts() == [picked]
    place = page.evaluate("document.activeElement.closest('li').dataset.item")
    assert place  # the focus is still among the results
    page.get_by_role("switch").focus()
    press("Space")
    shows(page, "in both lists")
    press("/")
    press("ArrowDown")
    first = found(page)[0]
    assert page.evaluate(focused) == first
    press("ArrowRight")
    assert page.evaluate(focused) == found(page, 1)[0]
    press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "query"
    outline = "getComputedStyle(document.querySelector('.fold.query')).boxShadow"
    assert page.evaluate(outline) != "none"


def test_a_link_shows_the_same(study: str, open_page: Open) -> None:
    page = open_page(study + "?query=space")
    shows(page, "search")
    page.get_by_role("button", name="Comedy").click()
    page.locator(".pick").nth(0).click()
    shows(page, "given a history of 1 item")
    page.get_by_role("switch").click()
    shows(page, "in both lists")
    other = open_page(page.url)
    shows(other, "in both lists")
    chip = "#history li span"
    assert other.locator(chip).all_inner_texts() == page.locator(chip).all_inner_texts()
    assert found(other) == found(page)
    assert other.get_by_role("button", name="Comedy").get_attribute("aria-pressed") == "true"
    for _ in range(3):
        page.go_back()
    page.wait_for_url("**/?query=space")
    shows(page, "search 10 items for “space”", exactly=True)
    assert found(page) == api(page, query="space")


def test_hostile_titles_stay_text(one_model: str, open_page: Open) -> None:
    page = open_page(one_model)
    page.get_by_role("combobox").press_sequentially("onerror")
    page.get_by_role("option").first.wait_for()
    assert page.get_by_role("option").first.inner_text() == HOSTILE
    page.get_by_role("combobox").press("Enter")
    shows(page, "recommendation")
    page.get_by_role("searchbox").fill(HOSTILE)
    shows(page, f"for “{HOSTILE}”")
    page.goto(page.url + "&filter.genres=" + quote(HOSTILE))
    shows(page, "1 item for")
    assert found(page) == [HOSTILE]
    page.locator(".why").click()
    page.locator(".parts li").first.wait_for()
    assert page.locator("img, main script").count() == 0
    assert page.title() == "Twofold"


def test_a_busy_server(one_model: str, open_page: Open) -> None:
    page = open_page(one_model, expect="429")
    refusals = []

    def refuse_once(route: "Route") -> None:
        refusals.append(route)
        if len(refusals) > 1:
            return route.continue_()
        headers = {"Retry-After": "1"}
        return route.fulfill(status=429, headers=headers, json={"detail": "the queue is full"})

    page.route("**/retrieve", refuse_once)
    page.get_by_role("searchbox").fill("space")
    page.get_by_text("The server is busy. This page asks again in 1 second.").wait_for()
    shows(page, "search 10 items")
    assert len(refusals) == 2
    assert not page.get_by_role("alert").is_visible()


def test_refusals_say_what_is_wrong(one_model: str, open_page: Open) -> None:
    page = open_page(one_model + "?history=nobody", expect="Failed to load resource")
    page.get_by_text("item 'nobody' is not in the catalog").wait_for()
    page.get_by_role("button", name="Remove nobody from the history").click()
    page.get_by_text("Type a query, add titles you liked, or do both.").wait_for()
    assert not page.get_by_role("alert").is_visible()
    page.route("**/retrieve", lambda route: route.abort())
    page.get_by_role("searchbox").fill("space")
    page.get_by_text("The server cannot be reached").wait_for()
    page.unroute("**/retrieve")
    page.get_by_role("button", name="Try again").click()
    shows(page, "search 10 items")


def test_a_server_with_keys(open_page: Open) -> None:
    from playwright.sync_api import expect

    key = "0123456789abcdef"
    holder = Key("someone", hashlib.sha256(key.encode()).digest())
    with serving(PageEngine(), keys=[holder]) as address:
        page = open_page(address + "?query=space", expect="401")
        page.get_by_role("textbox", name="Key").fill("not-the-key")
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("textbox", name="Key")).to_have_value("")
        page.get_by_role("textbox", name="Key").fill(key)
        page.get_by_role("button", name="Use this key").click()
        shows(page, "search 10 items")
        page.reload()
        shows(page, "search 10 items")
        assert not page.get_by_role("alert").is_visible()


def test_something_to_try(one_model: str, open_page: Open) -> None:
    page = open_page(one_model)
    page.get_by_role("button", name="recommendation for someone who liked Alpha and Beta").click()
    shows(page, "recommendation 10 items after a history of 2 items")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1000, "light")])
def test_it_fits(study: str, open_page: Open, width: int, scheme: str) -> None:
    size = {"width": width, "height": 740}
    page = open_page(study, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.get_by_role("button", name="recommendation").wait_for()
    assert fits(page)
    page.get_by_role("combobox").press_sequentially("WWW")
    page.get_by_role("option").first.wait_for()
    assert fits(page)
    assert len(page.get_by_role("option").first.inner_text()) == 301
    page.goto(study + "?query=space&history=long&filter.genres=Endless")
    shows(page, "1 item for")
    assert fits(page)
    row = page.locator(".result").bounding_box()
    assert row
    assert row["height"] < size["height"], "a title may be a whole text"
    page.goto(study + f"?query={'q' * 80}&history=long&history=1&compare=1")
    shows(page, "in both lists")
    page.locator(".why").first.click()
    page.locator(".parts").wait_for()
    assert fits(page)
    axes = page.locator(".axis").evaluate_all("all => all.map((a) => a.getBoundingClientRect().x)")
    assert len(axes) == 3
    assert max(axes) - min(axes) < 1  # the rectangles of all parts share one scale
    one, two = (page.locator(".column").nth(n).bounding_box() for n in (0, 1))
    assert one
    assert two
    assert (two["y"] > one["y"]) == (width == 360)  # columns stack on a phone
    ink, paper = page.evaluate(
        "['color', 'backgroundColor'].map(name => "
        "+getComputedStyle(document.body)[name].match(/\\d+/)[0])"
    )
    assert (ink < paper) == (scheme == "light")
