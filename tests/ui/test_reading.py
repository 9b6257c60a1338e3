"""Jobs, transcripts, endpoints and deliveries as a person meets them, in a real browser."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Route, expect
from starlette.responses import Response

from service.sandbox.speech import recording_path
from tests.support.relay_app import RelayApp, ThreadedRelayApp
from tests.support.transcripts import document, put, said
from tests.ui.conftest import Visit
from tests.ui.test_dashboard import SCRIPT, faults_of, until_drawn

FAILING = "https://sandbox.invalid/outcome=error:invalid_audio_file/broken.mp3"
RECORDING = "https://media.invalid/talk.wav"


@dataclass(frozen=True)
class Scene:
    """What there is to look at: ids of jobs, of an endpoint and of a delivery that was given up."""

    talk: str
    long: str
    failed: str
    told: str
    endpoint: str
    delivery: str

    def pages(self) -> list[str]:
        """Every page of these, with something on it."""
        return [
            "/ui/jobs",
            "/ui/jobs?stage=submitting",
            f"/ui/jobs/{self.told}",
            f"/ui/jobs/{self.failed}",
            f"/ui/jobs/{self.talk}/transcript?q=budget",
            f"/ui/jobs/{self.long}/transcript?page=1",
            "/ui/deliveries",
            f"/ui/deliveries/{self.delivery}",
            "/ui/endpoints",
            "/ui/endpoints/new",
            f"/ui/endpoints/{self.endpoint}",
            f"/ui/endpoints/{self.endpoint}/recover?since=2020-01-01T00:00",
            "/ui/search?q=budget",
        ]


def serve_recording(route: Route) -> None:
    """As a file server does it, with ranges: else nobody could jump in it."""
    sound = recording_path().read_bytes()
    first = int((route.request.headers.get("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
    ranges = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{len(sound) - 1}/{len(sound)}"}
    route.fulfill(status=206, body=sound[first:], content_type="audio/wav", headers=ranges)


TALK = document(
    [
        *said("Good morning and welcome", 0, speaker="1", language="en", translation_status="original"),
        *said("Guten Morgen und willkommen", 0, speaker="1", language="de", translation_status="translation"),
        *said("the budget", 2_000, speaker="2", language="en", translation_status="original", confidence=0.41),
        *said(SCRIPT, 4_000, speaker=SCRIPT, language="en", translation_status="original"),
    ]
)


@pytest.fixture(scope="module")
def scene(threaded: ThreadedRelayApp) -> Scene:
    async def make(relay_app: RelayApp) -> Scene:
        relay_app.receiver.answer = lambda request: Response(
            f"no {SCRIPT}", 503 if request.path == "/down" else 200
        )
        talk = await put(relay_app.relay, TALK, filename="talk.wav", request={"audio_url": RECORDING})
        words = " ".join(f"zulu{n}" for n in range(2_500))
        long = await put(relay_app.relay, document(said(words, speaker="1")), filename="long.wav")
        failed = await relay_app.submit(audio_url=FAILING, client_reference_id=SCRIPT)
        await relay_app.finished(failed["id"])
        endpoint = await relay_app.add_endpoint("/down", description=SCRIPT)
        told = await relay_app.submit(metadata={SCRIPT: SCRIPT})
        await relay_app.finished(told["id"])
        found: dict[str, Any] = {}

        async def is_exhausted() -> bool:
            answer = await relay_app.client.get("/v1/deliveries", params={"endpoint_id": endpoint["id"]})
            found.update(answer.json()["deliveries"][0])
            return bool(found["status"] == "exhausted")

        await relay_app.until(is_exhausted)
        return Scene(talk, long, failed["id"], told["id"], endpoint["id"], found["id"])

    return threaded.do(make)


def test_a_transcript_is_opened_from_the_list_and_its_words_tell_time_and_confidence(
    visit: Visit, scene: Scene
) -> None:
    page = visit.open("/ui/jobs")
    page.get_by_role("link", name="talk.wav").click()
    page.get_by_role("link", name="Transcript").click()
    expect(page.get_by_role("heading", name="talk.wav")).to_be_visible()
    page.get_by_text("budget", exact=True).hover()
    expect(page.locator("#tip")).to_have_text("0:02.300 – 0:02.360 · 41.0 % sure")  # noqa: RUF001  # an en dash
    expect(page.locator(".t.low")).to_have_text(["the", "budget"])

    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(31):
        slider.press("ArrowLeft")
    expect(page.locator(".t.low")).to_have_count(0)
    assert "below=0.39" in page.url
    page.reload()
    expect(page.locator(".t.low")).to_have_count(0)

    page.locator("#words").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_have_text("0:00.000 – 0:00.060 · 99.0 % sure")  # noqa: RUF001  # an en dash
    page.keyboard.press("ArrowRight")
    expect(page.locator(".t.at")).to_have_text("morning")

    page.get_by_role("searchbox").fill("morgen")
    page.keyboard.press("Enter")
    expect(page.locator(".hits mark")).to_have_text("Morgen")
    expect(page.locator(".t.hit")).to_have_text("Morgen")

    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Subtitles (SRT)").click()
    assert download.value.suggested_filename == "talk.srt"


def test_a_long_transcript_is_gone_through_by_its_parts(visit: Visit, scene: Scene) -> None:
    page = visit.open(f"/ui/jobs/{scene.long}/transcript")
    page.get_by_role("link", name="Later").first.click()
    expect(page.get_by_text("part 2 of 3").first).to_be_visible()
    page.get_by_role("link", name="Part 3, from").click()
    expect(page.get_by_text("zulu2499")).to_be_visible()
    visit.open(f"/ui/jobs/{scene.long}/transcript?at={300 * 1_500}")
    expect(page.locator(".t.at")).to_have_text("zulu1500")
    expect(page.locator(".t.at")).to_be_in_viewport()


def test_the_recording_is_loaded_only_when_it_is_asked_for(visit: Visit, scene: Scene) -> None:
    page = visit.page
    page.route("https://media.invalid/**", serve_recording)
    visit.open(f"/ui/jobs/{scene.talk}/transcript")
    assert visit.foreign == []
    page.get_by_role("link", name="Listen").click()
    expect(page.locator("#audio")).to_be_visible()  # the page that plays, no longer the one that was clicked
    page.locator("#audio").evaluate(
        "audio => { audio.playbackRate = 0.1; }"
    )  # the word stays long enough to be seen
    page.get_by_text("budget", exact=True).click()
    expect(page.locator(".t.now")).to_have_text("budget")
    visit.open("/ui/jobs")  # where nothing plays: the player asks for no other part of the recording from here on
    assert set(visit.foreign) == {RECORDING}
    visit.foreign.clear()


def test_the_reason_of_a_planted_fault_is_read_on_its_job(visit: Visit, scene: Scene) -> None:
    page = visit.open("/ui/jobs?stage=failed")
    page.get_by_role("link", name="broken.mp3").first.click()
    why = page.get_by_role("region", name="Why it is not done yet")
    expect(why).to_contain_text("It failed and is not retried automatically (invalid_audio_file)")
    expect(page.get_by_role("row", name="Create at Soniox")).to_contain_text("201")


def test_a_delivery_that_was_given_up_is_sent_again_and_seen_to_arrive(
    threaded: ThreadedRelayApp, visit: Visit, scene: Scene
) -> None:
    page = visit.open(f"/ui/jobs/{scene.told}")
    expect(page.get_by_role("region", name="Why it is not done yet")).to_contain_text("the receiver answered 503")
    row = page.get_by_role("row", name="/down")
    expect(row).to_contain_text("exhausted")
    row.get_by_role("link").click()
    expect(page.get_by_text("the receiver answered 503").first).to_be_visible()
    threaded.relay_app.receiver.answer = lambda _request: Response("thanks")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("status")).to_have_text("It is being sent again.")
    expect(page.locator(".facts").get_by_text("delivered", exact=True)).to_be_visible()  # without a reload
    expect(page.get_by_text("thanks")).to_be_visible()


def test_ticked_jobs_are_deleted_only_after_a_question(threaded: ThreadedRelayApp, visit: Visit) -> None:
    async def make(relay_app: RelayApp) -> list[str]:
        return [await put(relay_app.relay, document(said("word")), filename=f"doomed-{n}.wav") for n in range(2)]

    threaded.do(make)
    page = visit.open("/ui/jobs")
    for n in range(2):
        page.get_by_role("checkbox", name=f"Tick doomed-{n}.wav").check()
    expect(page.locator("[data-row-count]")).to_have_text("2")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("link", name="doomed-0.wav")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    expect(page.get_by_role("status")).to_have_text("Deleted 2 jobs.")
    expect(page.get_by_role("link", name="doomed")).to_have_count(0)


def test_an_endpoint_is_added_and_its_secret_is_shown_once(
    threaded: ThreadedRelayApp, visit: Visit, scene: Scene
) -> None:
    page = visit.open("/ui/endpoints")
    page.get_by_role("link", name="Add an endpoint").click()
    page.get_by_label("URL").fill(f"{threaded.relay_app.receiver_url}/new")
    page.get_by_label("transcription.completed").check()
    page.get_by_role("button", name="Add").click()
    secret = page.locator(".secret").inner_text()
    assert secret.startswith("whsec_")
    page.get_by_role("link", name="I have it").click()
    assert secret not in page.content()
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_role("status")).to_contain_text("The ping was accepted (200 after")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("region", name="Why nothing is sent")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), pytest.param("dark", 390, marks=pytest.mark.long)])
def test_every_page_to_read_is_accessible_fits_and_runs_no_planted_script(
    visit: Visit, scene: Scene, scheme: str, width: int
) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # it is one of the two
    page.set_viewport_size({"width": width, "height": 844})
    faults: list[str] = []
    for path in scene.pages():
        visit.open(path)
        until_drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert (page.title() != "owned", page.locator("main img[src=x]").count()) == (True, 0), path
        faults += faults_of(page)
    assert faults == [], json.dumps(faults, indent=1)
