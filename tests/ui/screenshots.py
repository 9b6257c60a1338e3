"""Pictures of every page into docs/img/: `python -m tests.ui.screenshots`, or `make screenshots`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from service.telemetry import configure_logs
from tests.support.relay_app import ADMIN_KEY, ThreadedRelayApp, new_sqlite, relay_app_in_thread
from tests.ui.chromium import MISSING, find_chromium, open_browser
from tests.ui.scenery import Sights, fill

FOLDER = Path(__file__).parents[2] / "docs" / "img"
WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
TALLEST = 1_500  # pixels; longer pages are cut

Shot = tuple[str, str, str, dict[str, int]]


def shots(sights: Sights) -> list[Shot]:
    """Name, path, colour scheme, size of the window."""
    return [
        ("sign-in", "/ui/sign-in", "light", WIDE),
        ("overview", "/ui/", "light", WIDE),
        ("overview-dark", "/ui/", "dark", WIDE),
        ("overview-phone", "/ui/", "light", PHONE),
        ("jobs", "/ui/jobs", "light", WIDE),
        ("job", f"/ui/jobs/{sights.job}", "light", WIDE),
        ("transcript", f"/ui/jobs/{sights.talk}/transcript?q=budget", "light", WIDE),
        ("transcript-dark", f"/ui/jobs/{sights.talk}/transcript", "dark", WIDE),
        ("search", "/ui/search?q=library", "light", WIDE),
        ("deliveries", "/ui/deliveries", "light", WIDE),
        ("delivery", f"/ui/deliveries/{sights.delivery}", "light", WIDE),
        ("endpoints", "/ui/endpoints", "light", WIDE),
        ("endpoint", f"/ui/endpoints/{sights.endpoint}", "light", WIDE),
        ("inbox", "/ui/inbox", "light", WIDE),
        ("reconciler", "/ui/reconciler", "light", WIDE),
        ("system", "/ui/system", "light", WIDE),
        ("keys", "/ui/keys", "light", WIDE),
    ]


def main() -> None:
    if find_chromium() is None:
        sys.exit(MISSING)
    FOLDER.mkdir(exist_ok=True)
    configure_logs("error", "console")
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"relay_reconcile_interval_s": 5.0, "relay_max_requests_per_minute": 4_000}
        with relay_app_in_thread(new_sqlite(Path(folder)), **settings) as threaded, open_browser() as browser:
            for shot in shots(threaded.do(fill, 400)):
                take(threaded, browser, shot)


def take(threaded: ThreadedRelayApp, browser: Browser, shot: Shot) -> None:
    """One picture, in a browser of its own."""
    name, path, scheme, size = shot
    options: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "reduced_motion": "reduce"}
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(f"{threaded.url}/ui/sign-in")
    if path != "/ui/sign-in":
        page.get_by_label("API key").fill(ADMIN_KEY)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/ui/")
        page.goto(threaded.url + path)
    page.wait_for_timeout(900)
    fit(page, size)
    page.screenshot(path=FOLDER / f"{name}.png")
    print(f"docs/img/{name}.png")
    context.close()


def fit(page: Page, size: dict[str, int]) -> None:
    """Make the window as tall as the page."""
    height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
