"""The dashboard as a person meets it, in a real browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.relay_app import RelayApp, ThreadedRelayApp
from tests.ui.conftest import Visit

AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
PAGES = ("/ui/", "/ui/inbox", "/ui/reconciler", "/ui/system", "/ui/keys")
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def faults_of(page: Page) -> list[str]:
    """What axe finds wrong. Its code is brought in by the debugger's way, which no policy of the page concerns."""
    page.evaluate(AXE)
    found = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(RULES)}}})")
    return [
        f"{page.url} {wrong['id']}: {node['target']} {node['failureSummary']}"
        for wrong in found["violations"]
        for node in wrong["nodes"]
    ]


def until_drawn(page: Page) -> None:
    """Wait until what the page's scripts have made is on the screen: two frames."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture(scope="module")
def jobs(threaded: ThreadedRelayApp) -> list[str]:
    """Some that went well, one that failed, one with scripts in every field."""

    async def submit(relay_app: RelayApp) -> list[str]:
        await relay_app.add_endpoint("/ui-events", description=f"planted {SCRIPT}")
        made = [
            await relay_app.submit(),
            await relay_app.submit(client_reference_id="outcome=error:invalid_audio_file"),
            await relay_app.submit(
                client_reference_id=f"planted {SCRIPT}",
                metadata={SCRIPT: SCRIPT},
                audio_url=f"https://sandbox.invalid/{SCRIPT.replace(' ', '%20')}/outcome=error:unplanned",
                webhook_url=f"{relay_app.receiver_url}/?planted={SCRIPT.replace(' ', '%20')}",
            ),
        ]
        for job in made:
            await relay_app.finished(job["id"])
        return [job["id"] for job in made]

    return threaded.do(submit)


def test_a_person_signs_in_looks_around_and_signs_out(stranger: Visit) -> None:
    page = stranger.sign_in()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    for name in ("Inbox", "Reconciler", "System", "Keys"):
        page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(name, ignore_case=True)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    stranger.open("/ui/system")
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_job_is_watched_from_accepted_to_finished_without_a_reload(
    threaded: ThreadedRelayApp, visit: Visit
) -> None:
    page = visit.open("/ui/?window=1h")
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    page.evaluate("document.body.dataset.same = 'yes'")
    at_soniox = page.locator(".step:nth-child(3) .step-count")
    expect(at_soniox).to_have_text("0")
    job = threaded.do(lambda relay_app: relay_app.submit(client_reference_id="processing_ms=1500"))
    expect(at_soniox).to_have_text("1")
    expect(at_soniox).to_have_text("0")
    threaded.do(lambda relay_app: relay_app.finished(job["id"]))
    expect(page.locator(".tile", has_text="Completed").locator(".tile-value")).not_to_have_text("0")
    assert page.evaluate("document.body.dataset.same") == "yes"


def test_a_paused_view_stands_still_until_it_is_let_go(threaded: ThreadedRelayApp, visit: Visit) -> None:
    page = visit.open("/ui/?window=1h")
    page.get_by_role("button", name="Live").click()
    paused = page.get_by_role("button", name="Paused")
    expect(paused).to_have_attribute("aria-pressed", "true")
    page.evaluate("document.querySelector('main h1').dataset.same = 'yes'")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    beside = page.context.new_page()
    beside.goto(f"{visit.url}/ui/?window=1h")
    completed = beside.locator(".tile", has_text="Completed").locator(".tile-value")
    before = completed.inner_text()
    job = threaded.do(lambda relay_app: relay_app.submit())
    threaded.do(lambda relay_app: relay_app.finished(job["id"]))
    expect(completed).not_to_have_text(before)  # in a view that is not paused
    beside.close()
    assert requests == []
    page.bring_to_front()
    with page.expect_request("**/ui/?window=1h"):
        paused.click()
    expect(page.get_by_role("button", name="Live")).to_be_visible()


def test_what_failed_is_tried_again_with_one_click(visit: Visit, jobs: list[str]) -> None:
    page = visit.open("/ui/")
    line = page.locator(".concerns li", has_text="invalid_audio_file").first
    line.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("status")).to_have_text("It is being retried.")
    page.reload()
    expect(page.get_by_role("status")).to_have_count(0)


def test_a_dry_run_shows_its_table_and_changes_nothing(visit: Visit) -> None:
    page = visit.open("/ui/reconciler")
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("heading", name="Dry run")).to_be_visible()
    expect(page.get_by_text("nothing was changed")).to_be_visible()


def test_a_key_is_shown_once_and_revoked_after_a_question(visit: Visit) -> None:
    page = visit.open("/ui/keys")
    page.get_by_label("Name").fill(f"desk {SCRIPT}")
    page.get_by_role("button", name="Make a key").click()
    key = page.locator("#new-key").inner_text()
    assert key.startswith("srk_")
    visit.open("/ui/keys")
    assert key not in page.content()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Revoke")).to_be_visible()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    expect(page.get_by_text("The key is revoked")).to_be_visible()
    expect(page.get_by_role("button", name="Revoke")).to_have_count(0)


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Visit) -> None:
    page = visit.page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate(ground) == light
    page.reload()
    assert page.evaluate(ground) == light


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(visit: Visit) -> None:
    page = visit.open("/ui/system")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    visit.open("/ui/system")
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Overview")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), pytest.param("dark", 390, marks=pytest.mark.long)])
def test_every_page_is_accessible(visit: Visit, jobs: list[str], scheme: str, width: int) -> None:
    visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # it is one of the two
    visit.page.set_viewport_size({"width": width, "height": 844})
    faults = []
    for path in PAGES:
        visit.open(path)
        until_drawn(visit.page)
        faults += faults_of(visit.page)
    assert faults == []


def test_the_sign_in_is_accessible(stranger: Visit) -> None:
    assert faults_of(stranger.open("/ui/sign-in")) == []


def test_no_page_is_wider_than_a_phone(visit: Visit, jobs: list[str]) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    for path in PAGES:
        visit.open(path)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_planted_scripts_are_shown_and_never_run(visit: Visit, jobs: list[str]) -> None:
    for path in PAGES:
        page = visit.open(path)
        until_drawn(page)
        assert page.title() != "owned", path
        assert page.locator("main img[src=x]").count() == 0, path
