"""The page for people, in a real browser."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from satchel import MemoryStore
from tests.servers import server_url
from tests.stores.http.serving import Serving

pytestmark = [pytest.mark.server("chromium"), pytest.mark.timeout(120)]

TOKEN = "a-token-that-nobody-guesses"
SCRIPT = "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title = 'taken over'\">"


class Store:
    """A store behind a server, and what a test puts in it.

    Attributes:
        url: Where the page is.
        client: A client of the REST interface.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = f"{url}/"
        self.client = httpx.Client(base_url=url, headers=headers, trust_env=False)

    def put(self, collection: str, items: dict[str, object], **about: object) -> None:
        named = [
            {"op": "put", "collection": collection, "key": key, "value": value, **about} for key, value in items.items()
        ]
        for start in range(0, len(named), 1000):
            self.client.post("/v1/batch", json={"operations": named[start : start + 1000]}).raise_for_status()

    def put_bytes(self, collection: str, key: str, value: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        self.client.put(f"/v1/c/{collection}/{key}", content=value, headers=headers).raise_for_status()

    def get(self, collection: str, key: str) -> httpx.Response:
        return self.client.get(f"/v1/c/{collection}/{key}")

    def delete(self, collection: str, key: str) -> None:
        self.client.delete(f"/v1/c/{collection}/{key}").raise_for_status()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(server_url("chromium"))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serving():
    with Serving() as serving:
        yield serving


@pytest.fixture
def make(serving, request):
    """Return a function that serves a new store with some options."""
    stores: list[Store] = []

    def make(**options) -> Store:
        name = f"{request.node.name.partition('[')[0]}-{len(serving.apps)}"
        headers = {"Authorization": f"Bearer {TOKEN}"} if "tokens" in options else {}
        stores.append(Store(serving.mount(name, MemoryStore, **options), headers))
        return stores[-1]

    yield make
    for store in stores:
        store.client.close()


@pytest.fixture
def page(browser: Browser):
    """Give a page in a context of its own; what its console says of errors fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    yield page
    context.close()
    assert faults == []


def keys(page: Page):
    return page.locator("#keys > ul button")


def collection(page: Page, name: str):
    return page.locator("#collections ul").get_by_role("button", name=name, exact=True)


def test_collections_folders_and_pages(make, page):
    store = make()
    store.put("users", {f"eu/{number:03}/profile": number for number in range(130)} | {"us/1": 1, "top": 1})
    store.put("sessions", {"s": 1})
    page.goto(store.url)
    expect(page.locator("#collections li")).to_have_text(["sessions", "users"])
    collection(page, "users").click()
    expect(keys(page)).to_have_text(["eu/", "top", "us/"])
    keys(page).first.click()
    expect(keys(page)).to_have_count(100)
    expect(page.locator("#page")).to_have_text("1 to 100")
    page.locator("#next").click()
    expect(page.locator("#page")).to_have_text("101 to 130")
    expect(keys(page)).to_have_count(30)
    expect(keys(page).first).to_have_text("100/")
    expect(page.locator("#next")).to_be_disabled()
    page.locator("#previous").click()
    expect(keys(page).first).to_have_text("000/")
    page.locator("#path").get_by_role("button", name="users").click()
    expect(keys(page)).to_have_text(["eu/", "top", "us/"])


def test_a_prefix_filters_and_another_delimiter_makes_other_folders(make, page):
    store = make()
    store.put("c", {"a:1:x": 1, "a:2": 1, "b/1": 1, "b/2": 1})
    page.goto(store.url)
    collection(page, "c").click()
    page.locator("#delimiter").fill(":")
    page.locator("#prefix").press("Enter")
    expect(keys(page)).to_have_text(["a:", "b/1", "b/2"])
    page.locator("#delimiter").fill("")
    page.locator("#prefix").fill("a:")
    page.locator("#prefix").press("Enter")
    expect(keys(page)).to_have_text(["1:x", "2"])
    page.reload()
    expect(page.locator("#prefix")).to_have_value("a:")


def test_values_are_shown_as_they_are(make, page):
    store = make()
    store.put("c", {"json": {"big": 12345678901234567, "list": [1, []], "text": 'a "b" {c}'}, "long": "x" * 70_000})
    store.put_bytes("c", "bytes", bytes(range(256)))
    page.goto(store.url)
    collection(page, "c").click()
    preview = page.locator("#entry pre")
    keys(page).nth(1).click()
    expect(preview).to_have_text(
        '{\n  "big": 12345678901234567,\n  "list": [\n    1,\n    []\n  ],\n  "text": "a \\"b\\" {c}"\n}',
        use_inner_text=True,
    )
    keys(page).nth(0).click()
    expect(preview).to_contain_text("00000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO")
    keys(page).nth(2).click()
    expect(page.locator("#note")).to_have_text("The first 64 KiB of the value:")
    assert len(preview.text_content()) == 64 * 1024


def test_a_stored_script_is_text(make, page):
    store = make()
    store.put(SCRIPT.replace("/", "|"), {SCRIPT: {SCRIPT: SCRIPT}})
    page.goto(store.url)
    page.locator("#collections ul button").click()
    page.locator("#delimiter").fill("")
    page.locator("#prefix").press("Enter")
    expect(keys(page)).to_have_text([SCRIPT])
    keys(page).click()
    expect(page.locator("#entry h2")).to_have_text(SCRIPT)
    expect(page.locator("#entry pre")).to_contain_text("<script>")
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.title() == "satchel"


def test_the_page_runs_no_script_but_its_own(make, page):
    answer = httpx.get(make().url, trust_env=False)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script>|style=|\son\w+=|https?://", answer.text)


def test_time_left_counts_down_and_an_entry_goes(make, page):
    store = make()
    store.put("c", {"short": 1}, ttl=3)
    store.put("c", {"long": 1}, ttl=90_061)
    page.goto(store.url)
    collection(page, "c").click()
    keys(page).nth(0).click()
    expect(page.locator("#left")).to_have_text(re.compile(r"1 d 1 h 1 min 1 s|1 d 1 h 1 min 0 s"))
    keys(page).nth(1).click()
    expect(page.locator("#left")).to_have_text(re.compile(r"[123] s"))
    expect(keys(page)).to_have_text(["long"])
    expect(page.locator("#note")).to_have_text("There is no such entry, or it has expired.")


def test_changes_of_others_appear(make, page):
    store = make()
    store.put("c", {"k": "before"})
    page.goto(store.url)
    collection(page, "c").click()
    expect(page.locator("#live")).to_have_text("live")
    keys(page).click()
    store.put("c", {"k": "after", "l": 1})
    expect(page.locator("#entry pre")).to_have_text('"after"')
    expect(keys(page)).to_have_text(["k", "l"])
    store.delete("c", "k")
    expect(keys(page)).to_have_text(["l"])
    expect(page.locator("#note")).to_contain_text("There is no such entry")


def test_without_the_switch_nothing_can_be_changed(make, page):
    for store in (make(), make(read_only=True, inspector_writes=True)):
        if "-0" in store.url:
            store.put("c", {"k": 1})
        page.goto(store.url)
        expect(page.locator("main")).to_be_visible()
    store = make()
    store.put("c", {"k": 1})
    page.goto(store.url)
    collection(page, "c").click()
    keys(page).click()
    expect(page.locator("#entry pre")).to_have_text("1")
    expect(page.get_by_role("button", name="Edit")).to_be_hidden()
    expect(page.get_by_role("button", name="Delete")).to_be_hidden()
    page.keyboard.press("e")
    expect(page.locator("#text")).to_be_hidden()


def test_with_the_switch_entries_are_edited_and_deleted(make, page):
    store = make(inspector_writes=True)
    store.put("c", {"k": {"name": "Ada"}}, ttl=3600)
    page.goto(store.url)
    collection(page, "c").click()
    keys(page).click()
    expires = store.get("c", "k").headers["satchel-expires-at"]
    page.get_by_role("button", name="Edit").click()
    page.locator("#text").fill('{"name": "Grace"')
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#message")).to_contain_text("JSON")
    page.locator("#text").fill('{"name": "Grace"}')
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#note")).to_have_text("Saved.")
    assert store.get("c", "k").json() == {"name": "Grace"}
    assert store.get("c", "k").headers["satchel-expires-at"] == expires
    page.get_by_role("button", name="Delete").click()
    page.locator("#confirm").get_by_role("button", name="Keep").click()
    assert store.get("c", "k").status_code == 200
    page.get_by_role("button", name="Delete").click()
    page.locator("#confirm").get_by_role("button", name="Delete").click()
    expect(page.locator("#entry")).to_be_hidden()
    assert store.get("c", "k").status_code == 404


def test_an_edit_does_not_overwrite_what_somebody_else_has_put(make, page):
    store = make(inspector_writes=True)
    store.put("c", {"k": "first"})
    page.goto(store.url)
    collection(page, "c").click()
    keys(page).click()
    page.get_by_role("button", name="Edit").click()
    page.locator("#text").fill('"mine"')
    store.put("c", {"k": "theirs"})
    expect(page.locator("#note")).to_have_text("This entry has changed meanwhile.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#message")).to_contain_text("Another client has changed this entry")
    assert store.get("c", "k").json() == "theirs"


def test_a_token_is_asked_for(make, page):
    store = make(tokens=[TOKEN])
    store.put("c", {"k": 1})
    page.goto(store.url)
    page.get_by_label("This server needs a token").fill("not-the-right-token")
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_contain_text("not one of the server's")
    page.get_by_label("This server needs a token").fill(TOKEN)
    page.keyboard.press("Enter")
    collection(page, "c").click()
    expect(keys(page)).to_have_text(["k"])
    assert TOKEN not in page.url
    page.reload()
    expect(keys(page)).to_have_text(["k"])


def test_the_keyboard_reaches_everything(make, page):
    store = make(inspector_writes=True)
    store.put("c", {"a/1": 1, "a/2": 2, "b": 3})
    page.goto(store.url)
    collection(page, "c").focus()
    page.keyboard.press("Enter")
    expect(keys(page)).to_have_text(["a/", "b"])
    page.keyboard.press("/")
    expect(page.locator("#prefix")).to_be_focused()
    keys(page).first.focus()
    page.keyboard.press("Enter")
    expect(keys(page)).to_have_text(["1", "2"])
    expect(keys(page).first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(keys(page).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#entry pre")).to_have_text("2")
    page.keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#text")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#entry")).to_be_hidden()
    expect(keys(page).nth(1)).to_be_focused()
    page.keyboard.press("Backspace")
    expect(keys(page)).to_have_text(["a/", "b"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_and_a_narrow_screen(make, page, scheme):
    store = make(inspector_writes=True)
    store.put("a-collection-with-a-long-name" * 4, {"k" * 200: {"x": "y" * 500}, "l": 1}, ttl=3600)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(store.url)
    page.locator("#collections ul button").click()
    keys(page).first.click()
    expect(page.locator("#entry pre")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    back, text = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    brightness = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (back, text)]
    assert (brightness[0] > brightness[1]) is (scheme == "light")
    assert abs(brightness[0] - brightness[1]) > 400
