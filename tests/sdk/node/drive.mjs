// Drives Soniox's own Node SDK against the relay and asserts what comes back; prints the methods it has called.
// Environment: RELAY_URL, RELAY_KEY, AUDIO_URL, RECEIVER_URL.

import assert from "node:assert/strict";
import { Readable } from "node:stream";

import { SonioxHttpError, SonioxNodeClient } from "@soniox/node";

const { RELAY_URL, RELAY_KEY, AUDIO_URL, RECEIVER_URL } = process.env;
const NOWHERE = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11";
const model = "stt-async-v5";
const called = new Set();

function tallied(name, api) {
  return new Proxy(api, {
    get(target, method) {
      const value = target[method];
      if (typeof value !== "function") return value;
      called.add(`${name}.${String(method)}`);
      return value.bind(target);
    },
  });
}

const client = new SonioxNodeClient({ api_key: RELAY_KEY, base_url: RELAY_URL });
const stt = tallied("stt", client.stt);
const files = tallied("files", client.files);
const models = tallied("models", client.models);
const wait_options = { interval_ms: 1000, timeout_ms: 20000 };

async function transcribe() {
  const created = await stt.create({ model, audio_url: AUDIO_URL, client_reference_id: "mine", language_hints: ["en"] });
  assert.equal(created.status, "queued");
  assert.equal(created.client_reference_id, "mine");
  const done = await stt.wait(created.id, wait_options);
  assert.equal(done.status, "completed");
  assert.equal((await stt.get(created.id)).id, created.id);
  assert.equal(await stt.get(NOWHERE), null);
  const transcript = await stt.getTranscript(created.id);
  assert.equal(transcript.tokens.map((token) => token.text).join(""), transcript.text);
  assert.ok(transcript.tokens.length > 0);

  const uploaded = await files.upload(Buffer.from("audio"), { filename: "talk.wav" });
  const jobs = await Promise.all([
    stt.transcribeFromUrl(AUDIO_URL, { model, wait: true, wait_options }),
    stt.transcribeFromFileId(uploaded.id, { model, wait: true, wait_options }),
    stt.transcribeFromFile(Buffer.from("audio"), { model, filename: "b.wav", wait: true, wait_options }),
    stt.transcribe({ model, file: Readable.from([Buffer.from("audio")]), wait: true, wait_options }),
  ]);
  for (const job of jobs) {
    assert.equal(job.status, "completed");
    assert.ok(job.transcript.tokens.length > 0);
  }
  assert.equal(jobs[1].file_id, uploaded.id);
  assert.equal(jobs[2].filename, "b.wav");

  const cleaned = await stt.transcribe({
    model,
    file: Buffer.from("audio"),
    wait: true,
    wait_options,
    cleanup: ["file", "transcription"],
  });
  assert.equal(await stt.get(cleaned.id), null);
  assert.equal(await files.get(cleaned.file_id), null);
}

async function translate() {
  const job = await stt.translate({ audio_url: AUDIO_URL, from: "en", to: "de", wait: true, wait_options });
  assert.equal(job.status, "completed");
  assert.ok((await job.getTranslation()).segments.length > 0);
  const other = await stt.translate({ audio_url: AUDIO_URL, between: ["en", "de"] });
  assert.equal((await other.wait(wait_options)).status, "completed");
}

async function callBack() {
  const job = await stt.transcribe({
    model,
    file: Buffer.from("audio"),
    webhook_url: RECEIVER_URL,
    webhook_query: { from: "node" },
    webhook_auth_header_name: "X-Mine",
    webhook_auth_header_value: "abc",
  });
  assert.equal(job.webhook_auth_header_value, "*".repeat(18));
}

async function listAndDelete() {
  const { total } = await stt.count();
  const ids = [];
  for await (const job of await stt.list({ limit: 3 })) ids.push(job.id);
  assert.equal(new Set(ids).size, total);
  assert.equal(ids.length, total);
  assert.ok(total > 5);
  await stt.delete(ids[0]);
  await stt.delete(ids[0]);
  await stt.destroy(ids[1]);
  assert.equal((await stt.count()).total, total - 2);
  await stt.destroy_all();
  await stt.create({ model, audio_url: AUDIO_URL });
  await stt.delete_all();
  assert.equal((await stt.count()).total, 0);
}

async function keepFiles() {
  await files.delete_all();
  const first = await files.upload(new Blob(["12345"]), { filename: "one.wav", client_reference_id: "ref" });
  const second = await files.upload(new Uint8Array([1, 2, 3]), { filename: "two.wav" });
  assert.deepEqual([first.filename, first.size, first.client_reference_id], ["one.wav", 5, "ref"]);
  assert.equal((await files.get(first.id)).filename, "one.wav");
  assert.equal((await files.count()).total, 2);
  const ids = [];
  for await (const file of await files.list({ limit: 1 })) ids.push(file.id);
  assert.deepEqual(ids, [second.id, first.id]);
  await files.delete(first.id);
  await files.delete(first.id);
  await second.delete();
  assert.equal(await files.get(second.id), null);
}

async function refusals() {
  await assert.rejects(stt.create({ model: "no-such-model", audio_url: AUDIO_URL }), (error) => {
    assert.ok(error instanceof SonioxHttpError);
    assert.equal(error.statusCode, 400);
    const body = JSON.parse(error.bodyText);
    assert.equal(body.error_type, "invalid_request");
    assert.equal(body.validation_errors[0].location, "body.payload.model");
    assert.equal(body.request_id, error.headers["x-request-id"]);
    return true;
  });
  const stranger = new SonioxNodeClient({ api_key: "srk_nobody", base_url: RELAY_URL });
  await assert.rejects(stranger.stt.count(), (error) => error.statusCode === 401);
}

function neverCalled() {
  const apis = { stt: client.stt, files: client.files, models: client.models };
  return Object.entries(apis).flatMap(([name, api]) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(api))
      .filter((method) => method !== "constructor" && !method.startsWith("_"))
      .map((method) => `${name}.${method}`)
      .filter((method) => !called.has(method)),
  );
}

await transcribe();
await translate();
await listAndDelete();
await keepFiles();
await refusals();
await callBack();
assert.ok((await models.list()).some((one) => one.id === model));
assert.deepEqual(neverCalled(), []);
console.log(JSON.stringify([...called].sort()));
