"""The dashboard over plain HTTP: sessions, headers, forms. What needs a browser is in tests/ui."""

import re

import httpx
import pytest

from tests.support.relay_app import ADMIN_KEY, RelayApp, open_relay_app

pytestmark = pytest.mark.one_database  # sessions and headers

OTHER_SITE = {"Origin": "https://evil.example"}


def browser(relay_app: RelayApp) -> httpx.AsyncClient:
    """Keeps cookies and sends no API key."""
    return httpx.AsyncClient(
        base_url=relay_app.server.url, headers={"Origin": relay_app.server.url}, trust_env=False
    )


async def sign_in(client: httpx.AsyncClient, key: str = ADMIN_KEY) -> httpx.Response:
    return await client.post("/ui/sign-in", data={"key": key, "next": "/ui"})


async def token_of(client: httpx.AsyncClient) -> str:
    page = (await client.get("/ui/")).text
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found
    return found[1]


async def new_key(relay_app: RelayApp, *scopes: str) -> dict[str, str]:
    answer = await relay_app.client.post("/v1/keys", json={"name": "desk", "scopes": list(scopes)})
    return dict(answer.json())


async def test_a_stranger_is_led_to_the_sign_in_and_from_there_to_what_he_wanted(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        refused = await client.get("/ui/?window=24h")
        assert refused.status_code == 303
        assert refused.headers["location"] == "/ui/sign-in?next=%2Fui%2F%3Fwindow%3D24h"
        answer = await client.post("/ui/sign-in", data={"key": ADMIN_KEY, "next": "/ui/?window=24h"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/?window=24h")
        assert (await client.get("/ui/")).status_code == 200


async def test_the_bare_address_leads_to_the_dashboard(relay_app: RelayApp) -> None:
    answer = await relay_app.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/ui/")


async def test_a_wrong_key_opens_nothing_and_is_not_repeated(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        answer = await sign_in(client, "srk_wrong_key_that_nobody_has")
        assert answer.status_code == 401
        assert "unknown, or it was revoked" in answer.text
        assert "srk_wrong" not in answer.text
        assert (await client.get("/ui/")).status_code == 303


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/ui",
        "//evil.example/ui",
        "/\\evil.example",
        "/uimpostor",
        "javascript:alert(1)",
        "/v1",
    ],
)
async def test_the_sign_in_leads_to_no_other_site(relay_app: RelayApp, elsewhere: str) -> None:
    async with browser(relay_app) as client:
        answer = await client.post("/ui/sign-in", data={"key": ADMIN_KEY, "next": elsewhere})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")


async def test_the_session_cookie_is_out_of_reach_and_holds_no_key(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        cookie = (await sign_in(client)).headers["set-cookie"]
        assert ADMIN_KEY not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=43200"} <= set(cookie.split("; "))
        assert "Secure" not in cookie


async def test_the_session_cookie_is_secure_where_the_relay_is_reached_over_https(database_url: str) -> None:
    async with (
        open_relay_app(database_url, public_base_url="https://relay.example") as relay_app,
        browser(relay_app) as client,
    ):
        client.headers.update({"Host": "relay.example", "Origin": "https://relay.example"})
        assert "Secure" in (await sign_in(client)).headers["set-cookie"].split("; ")


async def test_a_changed_cookie_is_no_session(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        await sign_in(client)
        owner, until, nonce, signature = client.cookies["relay_session"].split(".")
        forgeries = (
            f"{owner}.{int(until) + 1}.{nonce}.{signature}",
            f"key_{'0' * 32}.{until}.{nonce}.{signature}",
            f"{owner}.{until}.{nonce}.",
            f"{owner}.{until}",
            "-",
        )
    async with browser(relay_app) as stranger:
        for forged in forgeries:
            answer = await stranger.get("/ui/", headers={"Cookie": f"relay_session={forged}"})
            assert answer.status_code == 303


async def test_a_revoked_key_ends_its_sessions(relay_app: RelayApp) -> None:
    key = await new_key(relay_app, "read")
    async with browser(relay_app) as client:
        await sign_in(client, key["key"])
        assert (await client.get("/ui/")).status_code == 200
        await relay_app.client.delete(f"/v1/keys/{key['id']}")
        assert (await client.get("/ui/")).status_code == 303


async def test_a_key_that_may_not_read_cannot_sign_in(relay_app: RelayApp) -> None:
    key = await new_key(relay_app, "submit")
    async with browser(relay_app) as client:
        answer = await sign_in(client, key["key"])
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


async def test_forms_are_taken_only_from_our_own_pages(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        assert (await client.post("/ui/sign-in", data={"key": ADMIN_KEY}, headers=OTHER_SITE)).status_code == 403
        await sign_in(client)
        token = await token_of(client)
        refused = (
            await client.post("/ui/sign-out", data={"token": token}, headers=OTHER_SITE),
            await client.post("/ui/sign-out", data={"token": token}, headers={"Origin": "null"}),
            await client.post("/ui/sign-out", data={"token": token[::-1]}),
            await client.post("/ui/sign-out", data={"other": "field"}),
        )
        assert [answer.status_code for answer in refused] == [403] * 4
        assert (await client.get("/ui/")).status_code == 200
        assert (await client.post("/ui/sign-out", data={"token": token})).status_code == 303
        assert (await client.get("/ui/")).status_code == 303


async def test_the_token_of_one_session_is_worth_nothing_in_another(relay_app: RelayApp) -> None:
    async with browser(relay_app) as one, browser(relay_app) as other:
        await sign_in(one)
        await sign_in(other)
        answer = await other.post("/ui/sign-out", data={"token": await token_of(one)})
        assert answer.status_code == 403


async def test_every_answer_forbids_foreign_content_and_frames(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        pages = [await client.get("/ui/sign-in"), await client.get("/ui/"), await client.get("/ui/nowhere")]
        await sign_in(client)
        pages += [await client.get("/ui/"), await client.get("/ui/nowhere")]
        style = re.search(r'href="(/ui/static/[^"]+dashboard.css)"', pages[-1].text)
        assert style
        pages.append(await client.get(style[1]))
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] in {"no-store", "public, max-age=31536000, immutable"}


async def test_a_file_is_kept_for_ever_under_the_hash_of_its_content_only(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        page = (await client.get("/ui/sign-in")).text
        for url in re.findall(r'(?:href|src)="(/ui/static/[^"]+)"', page):
            answer = await client.get(url)
            assert answer.status_code == 200, url
            assert "immutable" in answer.headers["cache-control"]
        assert (await client.get("/ui/static/0/app.js")).headers["cache-control"] == "no-cache"
        for missing in ("vendor/README.md", "../page.py", "vendor/../../page.py", "nothing.js"):
            assert (await client.get(f"/ui/static/0/{missing}")).status_code in {303, 404}


async def test_a_link_from_another_site_is_followed_once_more_before_a_key_is_asked_for(
    relay_app: RelayApp,
) -> None:
    async with browser(relay_app) as client:
        answer = await client.get("/ui/?window=7d", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 200
        assert '<meta http-equiv="refresh" content="0;url=/ui/?window=7d">' in answer.text


async def test_what_is_not_there_is_a_page_that_says_so(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        await sign_in(client)
        answer = await client.get("/ui/<script>alert(1)</script>")
        assert answer.status_code == 404
        assert "Not found" in answer.text
        assert "<script>alert" not in answer.text


async def test_the_dashboard_is_no_part_of_the_api_document(relay_app: RelayApp) -> None:
    document = (await relay_app.client.get("/openapi.json")).json()
    assert not [path for path in document["paths"] if path.startswith("/ui")]
