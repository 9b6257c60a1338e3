"""The browser tests share one relay, one sandbox and one browser, so that all of them take seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from tests.support.relay_app import ADMIN_KEY, ThreadedRelayApp, new_sqlite, relay_app_in_thread
from tests.ui.chromium import MISSING, find_chromium, open_browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/ui/" in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("ui"))
            if find_chromium() is None:
                item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="package")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedRelayApp]:
    with relay_app_in_thread(new_sqlite(tmp_path_factory.mktemp("ui"))) as opened:
        yield opened


@pytest.fixture(scope="package")  # while Playwright is open, no test with an event loop of its own can run
def chromium() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@dataclass
class Visit:
    """A page in a browser of its own, with all that must not happen."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Open a page of the dashboard."""
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, key: str = ADMIN_KEY) -> Page:
        """As a person does it."""
        self.open("/ui")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/ui/")
        return self.page

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def watch(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.foreign.append(request.url)


@pytest.fixture
def stranger(threaded: ThreadedRelayApp, chromium: Browser) -> Iterator[Visit]:
    """A browser that is not signed in. At the end: no error in its console, no request to another host."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    context.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    visit = Visit(context.new_page(), threaded.url)
    visit.page.on("console", visit.hear)
    visit.page.on("pageerror", lambda error: visit.complaints.append(f"uncaught: {error}"))
    visit.page.on("request", visit.watch)
    yield visit
    context.close()
    assert visit.complaints == []
    assert visit.foreign == []


@pytest.fixture
def visit(stranger: Visit) -> Visit:
    """A browser signed in with the admin key."""
    stranger.sign_in()
    return stranger
