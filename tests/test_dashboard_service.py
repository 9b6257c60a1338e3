"""The dashboard's pages about the service itself, over plain HTTP: overview, inbox, reconciler, system, keys."""

import re
from typing import Any

import httpx

from service.db.database import Database
from service.store import system
from tests.support.relay_app import ADMIN_KEY, MASTER_SECRET, RelayApp, open_relay_app
from tests.support.rows import plan
from tests.test_dashboard import browser, new_key, sign_in, token_of

ADMINS_ONLY = ("/ui/inbox", "/ui/reconciler", "/ui/system", "/ui/keys")
SCRIPT = "<script>alert(1)</script>"


async def post(client: httpx.AsyncClient, path: str, **fields: str | list[str]) -> httpx.Response:
    return await client.post(path, data={"token": await token_of(client), **fields})


def words_of(page: httpx.Response) -> str:
    """Its text without the marks, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


async def test_what_belongs_to_no_single_key_is_for_admins(relay_app: RelayApp) -> None:
    key = await new_key(relay_app, "read", "submit")
    async with browser(relay_app) as client:
        await sign_in(client, key["key"])
        overview = await client.get("/ui/")
        assert overview.status_code == 200
        assert "Soniox's quotas" not in overview.text
        for path in ADMINS_ONLY:
            assert path not in overview.text
            assert (await client.get(path)).status_code == 403
        assert (await post(client, "/ui/reconciler/dry-run")).status_code == 403
        assert (await post(client, "/ui/keys", name="mine", scope=["admin"])).status_code == 403


async def test_the_overview_counts_the_visitor_s_own_jobs(relay_app: RelayApp) -> None:
    key = await new_key(relay_app, "read")
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    async with browser(relay_app) as client, browser(relay_app) as admin:
        await sign_in(client, key["key"])
        await sign_in(admin)
        assert "Completed 0 in the last 24h" in words_of(await client.get("/ui/"))
        assert "Completed 1 in the last 24h" in words_of(await admin.get("/ui/"))
        assert (await admin.get("/ui/?window=1y")).status_code == 400


async def test_what_needs_attention_is_mended_from_the_list_by_its_owner_only(relay_app: RelayApp) -> None:
    job = await relay_app.submit(client_reference_id="outcome=error:invalid_audio_file")
    await relay_app.finished(job["id"])
    stranger = await new_key(relay_app, "read", "submit")
    reader = await new_key(relay_app, "read")
    deed = {"kind": "transcription_failed", "id": job["id"]}
    async with browser(relay_app) as client, browser(relay_app) as other, browser(relay_app) as looker:
        await sign_in(client)
        await sign_in(other, stranger["key"])
        await sign_in(looker, reader["key"])
        assert "Transcription failed" in (await client.get("/ui/")).text
        assert "Transcription failed" not in (await other.get("/ui/")).text
        assert (await post(looker, "/ui/attention", **deed)).status_code == 403
        refused = await post(other, "/ui/attention", **deed)
        assert "Transcription not found." in (await other.get(refused.headers["location"])).text
        assert (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json()["status"] == "error"
        done = await post(client, "/ui/attention", **deed)
        assert "It is being retried." in (await client.get(done.headers["location"])).text
        assert "It is being retried." not in (await client.get("/ui/")).text
    timeline = (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json()["timeline"]
    assert "retry" in [step["step"] for step in timeline]


async def test_the_inbox_shows_duplicates_and_refused_calls(relay_app: RelayApp) -> None:
    await relay_app.faults(duplicate_webhook={"times": 2})
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    forged = await relay_app.client.post(
        f"/webhooks/soniox?job={SCRIPT}", json={"id": job["id"], "status": SCRIPT}
    )
    assert forged.status_code == 401
    async with browser(relay_app) as client:
        await sign_in(client)

        async def is_seen_three_times() -> bool:
            return "3 times" in (await client.get("/ui/inbox")).text

        await relay_app.until(is_seen_three_times)
        page = await client.get("/ui/inbox")
        assert "webhook, verified" in page.text
        assert "header missing or wrong" in page.text
        assert SCRIPT not in page.text
        assert re.search(r"Answered, median \d", words_of(page))


async def test_the_inbox_is_gone_through_page_by_page(relay_app: RelayApp) -> None:
    jobs = [(await relay_app.submit())["id"] for _ in range(30)]
    for job in jobs:
        await relay_app.finished(job)
    async with browser(relay_app) as client:
        await sign_in(client)
        first = await client.get("/ui/inbox")
        older = re.search(r'href="(/ui/inbox\?cursor=[^"]+)"', first.text)
        assert older
        second = await client.get(older[1])
        shown = [re.findall(r"/ui/jobs/([0-9a-f-]{36})", page.text) for page in (first, second)]
        assert sorted(shown[0] + shown[1]) == sorted(jobs)
        assert (await client.get("/ui/inbox?cursor=nonsense")).status_code == 400


async def test_a_dry_run_tells_what_a_run_would_find_and_changes_nothing(database_url: str) -> None:
    slow: dict[str, Any] = {"relay_reconcile_interval_s": 3_600.0, "relay_reconcile_grace_s": 0.0}
    async with open_relay_app(database_url, **slow) as relay_app, browser(relay_app) as client:
        await relay_app.faults(drop_webhook=True)
        await sign_in(client)
        job = await relay_app.submit(audio_url=f"https://sandbox.invalid/{SCRIPT.replace('/', '%2F')}")

        async def is_done_there() -> bool:
            return [one["status"] for one in await relay_app.created_at_soniox()] == ["completed"]

        await relay_app.until(is_done_there)
        page = await post(client, "/ui/reconciler/dry-run")
        assert page.status_code == 200
        assert "would collect the result" in page.text
        assert f"/ui/jobs/{job['id']}" in page.text
        assert SCRIPT not in page.text
        assert (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json()["stage"] == "submitted"


async def test_the_system_page_shows_settings_without_their_secrets(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        await sign_in(client)
        page = await client.get("/ui/system")
        text = words_of(page)
        for name in relay_app.relay.settings.__class__.model_fields:
            assert name.upper() in text
        for secret in (ADMIN_KEY, MASTER_SECRET, "sandbox-key"):
            assert secret not in page.text
        assert "SONIOX_API_KEY ********" in text
        assert f"PORT {relay_app.relay.settings.port} command line" in text
        assert "LOG_LEVEL info default" in text
        assert "up to date" in text


async def test_keys_are_made_shown_once_and_revoked(relay_app: RelayApp) -> None:
    async with browser(relay_app) as client:
        await sign_in(client)
        refused = await post(client, "/ui/keys", name="", scope=["read"])
        assert refused.status_code == 400
        assert "A key needs a name" in refused.text
        made = await post(client, "/ui/keys", name=SCRIPT, scope=["read"])
        key = re.search(r"srk_[\w-]+", made.text)
        assert key
        assert SCRIPT not in made.text
        listed = await client.get("/ui/keys")
        assert key[0] not in listed.text
        revoke = re.search(r'action="(/ui/keys/key_[0-9a-f]+/revoke)"', listed.text)
        assert revoke
        assert (await relay_app.client.get("/v1/stats", headers=bearer(key[0]))).status_code == 200
        assert (await post(client, revoke[1])).status_code == 303
        assert (await relay_app.client.get("/v1/stats", headers=bearer(key[0]))).status_code == 401


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_live_stream_looks_at_ends_of_indexes_only() -> None:
    for column in system.COLUMNS:
        begins = [next(iter(index.columns)) for index in column.table.indexes]
        assert column.primary_key or column in set(begins), f"{column} is read from end to end"


async def test_the_inbox_reads_no_more_than_its_page(db: Database) -> None:
    if db.dialect.name == "sqlite":
        steps = await plan(db, "SELECT * FROM webhooks WHERE id < 'x' ORDER BY id DESC LIMIT 26")
        assert steps == ["SEARCH webhooks USING INDEX sqlite_autoindex_webhooks_1 (id<?)"]
