"""The dashboard's pages of jobs, transcripts, endpoints, deliveries and search, through the real server."""

import re
from html import unescape
from typing import Any

import pytest
from starlette.responses import Response

from service.crypto import hash_api_key
from service.store import keys
from service.tables import ApiKey
from tests.support.relay_app import AUDIO, RelayApp, open_relay_app
from tests.support.transcripts import document, put, said
from tests.support.visitor import Visitor, visiting

pytestmark = pytest.mark.one_database  # what pages show; test_stats.py and test_api_lists.py have the queries

SCRIPT = "<script>alert(1)</script>"
FAILING = "https://sandbox.invalid/outcome=error:invalid_audio_file"
STUCK = "https://sandbox.invalid/stuck"


def links(html: str, start: str) -> list[str]:
    """Where a page leads to."""
    return [unescape(url) for url in re.findall(r'href="([^"]+)"', html) if url.startswith(start)]


async def key_of_another(relay_app: RelayApp, *scopes: str) -> str:
    secret = "relay-key-of-somebody-else-0001"
    key = ApiKey(id="key_else", name="else", hash=hash_api_key(secret), scopes=list(scopes), created_at_ms=1)
    await relay_app.relay.db.write(lambda session: keys.add(session, key))
    return secret


async def delivery_of(relay_app: RelayApp, endpoint_id: str) -> dict[str, Any]:
    found = await relay_app.client.get("/v1/deliveries", params={"endpoint_id": endpoint_id})
    return dict(found.json()["deliveries"][0])


async def test_jobs_are_listed_filtered_found_and_paged_by_links(relay_app: RelayApp) -> None:
    done = await relay_app.submit(client_reference_id="call-1")
    await relay_app.finished(done["id"])
    failed = await relay_app.submit(audio_url=FAILING, client_reference_id="call-2")
    soniox_id = (await relay_app.finished(failed["id"]))["soniox_id"]
    async with visiting(relay_app) as visitor:
        everything = await visitor.page("/ui/jobs")
        assert {f"/ui/jobs/{done['id']}", f"/ui/jobs/{failed['id']}"} <= set(links(everything, "/ui/jobs/"))
        filtered: list[tuple[dict[str, Any], list[str]]] = [
            ({"stage": "failed"}, [failed["id"]]),
            ({"status": "completed"}, [done["id"]]),
            ({"reference": "call-1", "stage": "", "after": ""}, [done["id"]]),
            ({"before": "2020-01-01T00:00"}, []),
            ({"after": "2020-01-01T00:00"}, [failed["id"], done["id"]]),
        ]
        for params, expected in filtered:
            shown = await visitor.page("/ui/jobs", **params)
            assert [url[9:] for url in links(shown, "/ui/jobs/")] == expected, params
        for sought in (done["id"], f" {done['id'].upper()} "):
            found = await visitor.client.get("/ui/jobs/find", params={"q": sought})
            assert found.headers["location"] == f"/ui/jobs/{done['id']}"
        found = await visitor.client.get("/ui/jobs/find", params={"q": soniox_id})
        assert found.headers["location"] == f"/ui/jobs/{failed['id']}"
        found = await visitor.client.get("/ui/jobs/find", params={"q": "call-1"})
        assert found.headers["location"] == "/ui/jobs?reference=call-1"
        await visitor.page("/ui/jobs", code=400, stage="nonsense")
        await visitor.page("/ui/jobs", code=400, cursor="nonsense")


async def test_a_long_list_of_jobs_shows_each_once(relay_app: RelayApp) -> None:
    ids = [await put(relay_app.relay, document(said("word"))) for _ in range(53)]
    async with visiting(relay_app) as visitor:
        first = await visitor.page("/ui/jobs", stage="completed")
        (older,) = [url for url in links(first, "/ui/jobs?") if "cursor" in url]
        assert "stage=completed" in older
        second = await visitor.page(older)
    shown = [url[9:] for page in (first, second) for url in links(page, "/ui/jobs/")]
    assert shown == ids[::-1]


async def test_many_jobs_are_retried_and_deleted_at_once_and_the_others_are_counted(relay_app: RelayApp) -> None:
    failed = [(await relay_app.submit(audio_url=FAILING))["id"] for _ in range(2)]
    done = (await relay_app.submit())["id"]
    for job_id in [*failed, done]:
        await relay_app.finished(job_id)
    async with visiting(relay_app) as visitor:
        answer = await visitor.post("/ui/jobs", action="retry", id=[*failed, done], query="stage=failed")
        assert answer.headers["location"] == "/ui/jobs?stage=failed"
        assert (await visitor.told(answer)).startswith("Retried 2 jobs. 1 could not be")
        for job_id in failed:
            steps = (await relay_app.finished(job_id))["timeline"]
            assert "retry" in [step["step"] for step in steps]
        answer = await visitor.post("/ui/jobs", action="delete", id=[failed[0], done])
        assert await visitor.told(answer) == "Deleted 2 jobs."
        assert (await relay_app.client.get(f"/v1/transcriptions/{done}")).status_code == 404
        assert (await visitor.post("/ui/jobs", action="format", id=[failed[1]])).status_code == 400
        refused = await visitor.client.post("/ui/jobs", data={"action": "delete", "id": failed[1]})
        assert refused.status_code == 403  # no token
        assert (await relay_app.client.get(f"/v1/transcriptions/{failed[1]}")).status_code == 200


async def test_a_job_shows_its_life_its_request_and_why_it_is_not_done(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint("/told")
    callback = {
        "webhook_url": relay_app.receiver_url + "/back",
        "webhook_auth_header_name": "X-Mine",
        "webhook_auth_header_value": "the-callers-own-secret",
    }
    job = await relay_app.submit(
        metadata={"tenant": "north"}, audio_url=f"{AUDIO}?X-Amz-Signature=abcdef", **callback
    )
    await relay_app.finished(job["id"])
    await relay_app.until_received("/told")
    await relay_app.until_received("/back")
    async with visiting(relay_app) as visitor:

        async def is_told() -> bool:
            return "it is not finished" not in (page := await visitor.page(path)) and page.count(">Delivery<") == 2

        path = f"/ui/jobs/{job['id']}"
        await relay_app.until(is_told)
        html = await visitor.page(path)
        for title in ("Accepted", "Create at Soniox", "Fetch the transcript", "Stored"):
            assert f'<th scope="row">{title}<' in html
        assert html.count('class="tone-') >= 8
        assert "Why it is not done yet" not in html
        assert "&#34;tenant&#34;: &#34;north&#34;" in html
        for secret in ("the-callers-own-secret", "abcdef", "admin-key-of-the-tests"):
            assert secret not in html
        assert "$RELAY_API_KEY" in html

        failed = await relay_app.submit(audio_url=FAILING)
        await relay_app.finished(failed["id"])
        html = await visitor.page(f"/ui/jobs/{failed['id']}")
        assert "It failed and is not retried automatically (invalid_audio_file)" in html
        answer = await visitor.post(f"/ui/jobs/{failed['id']}/retry")
        assert await visitor.told(answer) == "It is being retried."
        answer = await visitor.post(f"/ui/jobs/{job['id']}/retry")
        assert answer.status_code == 409
        assert "only a failed transcription can be tried again" in answer.text

        stuck = await relay_app.submit(audio_url=STUCK)

        async def is_there() -> bool:
            return "the reconciler asks" in await visitor.page(f"/ui/jobs/{stuck['id']}")

        await relay_app.until(is_there)
        answer = await visitor.post(f"/ui/jobs/{stuck['id']}/reconcile")
        assert "Soniox says processing; what follows: wait." in await visitor.told(answer)
        answer = await visitor.post(f"/ui/jobs/{stuck['id']}/delete")
        assert await visitor.told(answer) == f"Deleted job {stuck['id']}."
        await visitor.page(f"/ui/jobs/{stuck['id']}", code=404)


async def test_a_transcript_is_read_by_turns_searched_and_exported(relay_app: RelayApp) -> None:
    original, translation = {"translation_status": "original"}, {"translation_status": "translation"}
    job = await put(
        relay_app.relay,
        document(
            [
                *said("Good morning everybody", 0, speaker="1", language="en", confidence=0.5, **original),
                *said("Guten Morgen zusammen", 0, speaker="1", language="de", **translation),
                *said("Thank you", 61_000, speaker="2", language="en", **original),
            ]
        ),
        request={"model": "stt-async-v5", "audio_url": "https://media.example.com:8443/a.mp3?sig=1"},
    )
    path = f"/ui/jobs/{job}/transcript"
    async with visiting(relay_app) as visitor:
        html = await visitor.page(path)
        assert html.count('class="turn "') == 2
        assert '<span class="t low" data-s="0" data-e="60" data-c="0.5">Good</span>' in html
        assert 'class="t low"' not in await visitor.page(path, below=0.4)
        found = await visitor.page(path, q="morgen")
        assert "1 place with" in found
        assert "<mark>Morgen</mark>" in found
        assert re.search(r'class="t hit"[^>]*>Morgen<', found)
        assert len(links(found, "?at=")) == 3  # two turns, one hit
        names = {}
        for format in ("json", "text", "srt", "vtt", "csv", "segments"):
            ours = await visitor.client.get(f"{path}/export", params={"format": format})
            theirs = await relay_app.client.get(f"/v1/transcriptions/{job}/transcript", params={"format": format})
            assert ours.content == theirs.content, format
            names[format] = ours.headers["content-disposition"]
        assert "attachment" in names["json"]
        quiet = await visitor.client.get(path)
        assert "media-src" not in quiet.headers["content-security-policy"]
        assert "sig=1" not in quiet.text
        loud = await visitor.client.get(path, params={"audio": "1"})
        assert loud.headers["content-security-policy"].endswith("; media-src https://media.example.com:8443")
        assert (
            '<audio id="audio" controls preload="metadata" src="https://media.example.com:8443/a.mp3?sig=1">'
            in (loud.text)
        )
        unfinished = await relay_app.submit(audio_url=STUCK)
        assert "is not completed" in await visitor.page(f"/ui/jobs/{unfinished['id']}/transcript", code=409)


async def test_a_recording_s_address_cannot_add_to_the_policy(relay_app: RelayApp) -> None:
    wicked = [
        "https://a.example;script-src *",
        "https://a.example,x/y",
        "javascript:alert(1)",
        "https://a b/c",
        "https://[x",
        7,
    ]
    async with visiting(relay_app) as visitor:
        for url in wicked:
            job = await put(relay_app.relay, document(said("word")), request={"audio_url": url})
            answer = await visitor.client.get(f"/ui/jobs/{job}/transcript", params={"audio": "1"})
            assert "media-src" not in answer.headers["content-security-policy"], url
            assert "<audio" not in answer.text
            await visitor.page(f"/ui/jobs/{job}")


async def test_a_long_transcript_comes_in_parts_and_a_moment_leads_to_its_own(relay_app: RelayApp) -> None:
    job = await put(relay_app.relay, document(said(" ".join(f"zulu{n}" for n in range(3_500)), speaker="1")))
    path = f"/ui/jobs/{job}/transcript"
    async with visiting(relay_app) as visitor:
        first = await visitor.page(path)
        assert "part 1 of 4" in first
        assert (">zulu0<" in first, ">zulu1000<" in first) == (True, False)
        seen = [word for n in range(4) for word in re.findall(r">(zulu\d+)<", await visitor.page(path, page=n))]
        assert seen == [f"zulu{n}" for n in range(3_500)]
        assert ">zulu2500<" in await visitor.page(path, at=300 * 2_500)
        assert "part 4 of 4" in await visitor.page(path, page=9)
        assert "part 4 of 4" in await visitor.page(path, at=10**9)
        hit = await visitor.page(path, q="zulu3333")
        (there,) = {url for url in links(hit, "?at=") if "zulu3333" in url}
        assert re.search(r'class="t hit"[^>]*>zulu3333<', await visitor.page(path + there.partition("#")[0]))


async def test_an_endpoint_is_made_tested_paused_rotated_recovered_and_deleted(relay_app: RelayApp) -> None:
    relay_app.receiver.answer = lambda request: Response("not today", 500 if request.path == "/broken" else 200)
    async with visiting(relay_app) as visitor:
        refused = await visitor.post("/ui/endpoints", url="ftp://nowhere", description="", include="none")
        assert (refused.status_code, "url: " in refused.text) == (400, True)
        made = await visitor.post(
            "/ui/endpoints",
            url=f"{relay_app.receiver_url}/broken",
            description="billing",
            include="text",
            event_types=["transcription.completed", "ping"],
        )
        assert made.status_code == 201
        assert made.headers["cache-control"] == "no-store"
        (secret,) = set(re.findall(r"whsec_[\w+/=]+", made.text))
        (path,) = set(links(made.text, "/ui/endpoints/"))
        assert secret not in await visitor.page(path)
        assert "transcription.completed, ping" in await visitor.page(path)
        told = await visitor.told(await visitor.post(f"{path}/test"))
        assert told.startswith("The ping failed: the receiver answered 500 (500 after")

        rotated = await visitor.post(f"{path}/rotate")
        (new,) = set(re.findall(r"whsec_[\w+/=]+", rotated.text))
        assert new != secret

        await relay_app.add_endpoint("/fine")
        job = await relay_app.submit()
        await relay_app.finished(job["id"])
        endpoint_id = path.rpartition("/")[2]

        async def is_exhausted() -> bool:
            return bool((await delivery_of(relay_app, endpoint_id))["status"] == "exhausted")

        await relay_app.until(is_exhausted)
        listed = await visitor.page("/ui/endpoints", window="7d")
        assert [listed.count(f'class="fared-{tone}"') for tone in ("bad", "good", "mixed", "open")] == [1, 1, 0, 0]
        assert 'class="fared-bad"' in await visitor.page(path)
        preview = await visitor.page(f"{path}/recover", since="2020-01-01T00:00")
        assert "2 deliveries would be sent again" in preview
        await visitor.page(f"{path}/recover", code=400, since="yesterday")
        sent = len(relay_app.receiver.at("/broken"))
        answer = await visitor.post(f"{path}/recover", since="2020-01-01T00:00")
        assert await visitor.told(answer) == "Sending 2 deliveries again."
        await relay_app.until_received("/broken", sent + 1)

        await visitor.post(f"{path}/pause")
        assert "Why nothing is sent" in await visitor.page(path)
        await visitor.post(f"{path}/resume")
        assert "Why nothing is sent" not in await visitor.page(path)
        await visitor.post(f"{path}/delete")
        await visitor.page(path, code=404)


async def test_a_delivery_shows_each_try_with_its_answer_and_is_sent_again(relay_app: RelayApp) -> None:
    relay_app.receiver.answer = lambda _request: Response(f"no: {SCRIPT}", 503)
    endpoint = await relay_app.add_endpoint("/down")
    job = await relay_app.submit()
    await relay_app.finished(job["id"])

    async def is_exhausted() -> bool:
        return bool((await delivery_of(relay_app, endpoint["id"]))["status"] == "exhausted")

    await relay_app.until(is_exhausted)
    async with visiting(relay_app) as visitor:
        shown = await visitor.page("/ui/deliveries", status="exhausted", endpoint_id=endpoint["id"], event_id="")
        (path,) = links(shown, "/ui/deliveries/")
        html = await visitor.page(path)
        assert html.count("the receiver answered 503") == 5  # four tries, and the delivery's own last error
        assert html.count("no: &lt;script&gt;") == 4
        job_page = await visitor.page(f"/ui/jobs/{job['id']}")
        assert "never took the notification: the receiver answered 503" in job_page
        relay_app.receiver.answer = lambda _request: Response("thanks")
        assert await visitor.told(await visitor.post(f"{path}/retry")) == "It is being sent again."

        async def is_delivered() -> bool:
            return bool((await delivery_of(relay_app, endpoint["id"]))["status"] == "delivered")

        await relay_app.until(is_delivered)
        assert "thanks" in await visitor.page(path)
        assert "No delivery is like that" in await visitor.page("/ui/deliveries", status="exhausted")


async def test_search_leads_to_the_place_in_the_transcript(relay_app: RelayApp) -> None:
    job = await put(relay_app.relay, document(said(f"the {SCRIPT} budget review", 5_000, speaker="1")))
    async with visiting(relay_app) as visitor:
        assert "What are you looking for?" in await visitor.page("/ui/search")
        found = await visitor.page("/ui/search", q='"budget review"')
        assert "&lt;script&gt;" in found
        assert "<mark>budget review</mark>" in found
        (there,) = links(found, f"/ui/jobs/{job}/transcript")
        assert re.search(r'class="t hit"[^>]*>budget<', await visitor.page(there.partition("#")[0]))
        assert "Nothing found" in await visitor.page("/ui/search", q="nowhere")
        assert "Nothing found" in await visitor.page("/ui/search", q="budget", speaker="2")


async def _all_pages(visitor: Visitor, job: str, transcript: str, delivery: str, endpoint: str) -> dict[str, str]:
    paths = [
        "/ui/jobs",
        f"/ui/jobs/{job}",
        f"/ui/jobs/{transcript}/transcript?q=script",
        "/ui/deliveries",
        f"/ui/deliveries/{delivery}",
        "/ui/endpoints",
        f"/ui/endpoints/{endpoint}",
        f"/ui/endpoints/{endpoint}/recover?since=2020-01-01T00:00",
        "/ui/search?q=script",
        f"/ui/jobs?reference={SCRIPT}",
        f"/ui/search?q={SCRIPT}&speaker={SCRIPT}",
    ]
    return {path: await visitor.page(path) for path in paths}


async def test_a_script_in_any_field_is_shown_and_not_run_and_strangers_see_nothing(relay_app: RelayApp) -> None:
    relay_app.receiver.answer = lambda _request: Response(SCRIPT, 400)
    endpoint = await relay_app.add_endpoint("/x", description=SCRIPT)
    job = await relay_app.submit(
        audio_url=f"{FAILING}/%3Cscript%3Ealert(1)%3C%2Fscript%3E?{SCRIPT}",
        client_reference_id=SCRIPT,
        metadata={SCRIPT: SCRIPT},
        context={"text": SCRIPT},
    )
    await relay_app.finished(job["id"])
    transcript = await put(
        relay_app.relay,
        document(said(f"{SCRIPT} script", speaker=SCRIPT, language=SCRIPT)),
        filename=SCRIPT,
        error_message=SCRIPT,
        client_reference_id=SCRIPT,
    )
    delivery = await delivery_of(relay_app, endpoint["id"])
    stranger = await key_of_another(relay_app, "read", "submit")
    async with visiting(relay_app) as visitor, visiting(relay_app, stranger) as other:
        for path, html in (
            await _all_pages(visitor, job["id"], transcript, delivery["id"], endpoint["id"])
        ).items():
            assert "<script>alert" not in html, path
            assert " style=" not in html, path
            assert not re.search(r"<script(?![^>]*src=)", html), path
            assert not re.search(r"\son\w+=", html), path
        assert "&lt;script&gt;alert" in html
        for path in (
            f"/ui/jobs/{job['id']}",
            f"/ui/jobs/{transcript}/transcript",
            f"/ui/jobs/{transcript}/transcript/export",
            f"/ui/deliveries/{delivery['id']}",
            f"/ui/endpoints/{endpoint['id']}",
            f"/ui/endpoints/{endpoint['id']}/recover",
        ):
            await other.page(path, code=404)
        for path in (
            f"/ui/jobs/{job['id']}/retry",
            f"/ui/jobs/{job['id']}/reconcile",
            f"/ui/jobs/{job['id']}/delete",
            f"/ui/deliveries/{delivery['id']}/retry",
            *[
                f"/ui/endpoints/{endpoint['id']}/{deed}"
                for deed in ("pause", "resume", "rotate", "test", "delete")
            ],
        ):
            assert (await other.post(path)).status_code == 404, path
        assert (await other.post("/ui/jobs", action="delete", id=[job["id"]])).status_code == 303
        assert "No job yet" in await other.page("/ui/jobs")
        assert "Nothing was sent yet" in await other.page("/ui/deliveries")
        assert "No endpoint yet" in await other.page("/ui/endpoints")
        assert "Nothing found" in await other.page("/ui/search", q="script")
        found = await other.client.get("/ui/jobs/find", params={"q": job["id"]})
        assert found.headers["location"] == f"/ui/jobs?reference={job['id']}"
    assert (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).status_code == 200


async def test_a_key_that_may_only_read_changes_nothing(relay_app: RelayApp) -> None:
    reader = await key_of_another(relay_app, "read")
    async with visiting(relay_app, reader) as visitor:
        for path in ("/ui/jobs", "/ui/endpoints", "/ui/jobs/x/retry", "/ui/deliveries/x/retry"):
            answer = await visitor.post(path, action="delete", id="x", url="https://example.com")
            assert answer.status_code == 403, path


async def test_a_job_that_is_held_back_says_by_what(database_url: str) -> None:
    async with (
        open_relay_app(database_url, soniox_api_key="wrong-key") as relay_app,
        visiting(relay_app) as visitor,
    ):
        job = await relay_app.submit()

        async def says_so() -> bool:
            return "work for Soniox is parked: 401" in await visitor.page(f"/ui/jobs/{job['id']}")

        await relay_app.until(says_so)
