// Drives a headless Chromium for tests/it/browser: what it says on standard output are the signals that the Rust side waits for, one JSON
// value a line; what it is told comes in lines on standard input. Ends with 0 when all was seen.
//
//   node drive.mjs docs URL KEY                  reads and tries the API's page
//   node drive.mjs reload ORIGIN MESSAGE         asks on a page of another origin, reloads it, and is told when it may go on
//   node drive.mjs stranger ORIGIN MESSAGE       asks on a page of an origin that may not

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { chromium } = createRequire(join(process.env.SWITCHBOARD_TEST_BROWSER, "package.json"))("playwright-core");
// Far above what anything here takes: a bound, not an expectation.
const PATIENCE_MS = 60_000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
  // Nothing outside this machine can be reached, whatever asks for it.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];

const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (thing) => console.log(JSON.stringify(thing));

const folder = await mkdtemp(join(tmpdir(), "switchboard-browser-"));
const browser = await chromium.launchPersistentContext(folder, {
  executablePath: process.env.SWITCHBOARD_TEST_CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS, timeout: PATIENCE_MS,
});
const page = browser.pages()[0] ?? (await browser.newPage());
page.setDefaultTimeout(PATIENCE_MS);
const problems = [];
page.on("console", (line) => ["error", "warning"].includes(line.type()) && problems.push(line.text()));
page.on("pageerror", (error) => problems.push(String(error)));
const origins = new Set();
page.on("request", (request) => request.url().startsWith("data:") || origins.add(new URL(request.url()).origin));

/** Waits until a place on the page has a text. */
const has = (locator, words) => locator.filter({ hasText: words }).first().waitFor();

const operation = async (id) => {
  const box = page.locator(`details#${id}`);
  if ((await box.getAttribute("open")) === null) await box.locator("> summary").click();
  return box;
};

const scenes = {
  async docs(url, key) {
    await page.goto(`${url}/docs`);
    await page.getByLabel("Key", { exact: true }).fill(key);

    // It reads: every operation of the document, the dialect's too.
    const description = await (await fetch(`${url}/openapi.json`)).json();
    const ids = Object.values(description.paths).flatMap((item) => Object.values(item).map((one) => one.operationId)).filter(Boolean);
    await page.locator(`details#${ids[0]}`).waitFor();
    assert.equal(await page.locator("details.operation").count(), ids.length);
    for (const id of ids) await operation(id);

    // It tries.
    const list = await operation("listAssistants");
    await list.getByRole("button", { name: "Send", exact: true }).click();
    await has(list.locator(".status"), "200");
    await has(list.locator("pre"), '"capabilities"');

    // It streams a turn.
    const turn = await operation("createTurn");
    const body = turn.getByLabel("Body");
    await body.fill(JSON.stringify({ assistant: "docs", message: "What is our holiday policy?", stream: true }));
    await turn.getByRole("button", { name: "Send", exact: true }).click();
    await has(turn.locator("pre"), "event: turn.completed");
    const shown = await turn.locator(".reply").innerText();
    assert.ok(shown.includes("holiday policy"), shown);

    // And a completion of the dialect, under its own root.
    const completion = await operation("openaiCreateChatCompletion");
    const messages = [{ role: "user", content: "What is our holiday policy?" }];
    await completion.getByLabel("Body").fill(JSON.stringify({ model: "docs", messages, stream: true }));
    await completion.getByRole("button", { name: "Send", exact: true }).click();
    await has(completion.locator("pre"), "data: [DONE]");
    const completed = await completion.locator(".reply").innerText();
    assert.ok(completed.includes("holiday policy"), completed);

    // And a response.
    const response = await operation("createResponse");
    await response.getByLabel("Body").fill(JSON.stringify({ model: "docs", input: "What is our holiday policy?", stream: true }));
    await response.getByRole("button", { name: "Send", exact: true }).click();
    await has(response.locator("pre"), "event: response.completed");
    const responded = await response.locator(".reply").innerText();
    assert.ok(responded.includes("holiday policy"), responded);

    assert.deepEqual(problems, []);
    assert.deepEqual([...origins], [url]);
    say({ operations: ids.length });
  },

  async reload(origin, message) {
    await page.goto(origin);
    await page.getByLabel("Message").fill(message);
    await page.getByRole("button", { name: "Ask" }).click();
    // Some of the reply has come, and no more will until the other side is told so.
    await has(page.locator("#reply"), /\S/);
    const before = await page.evaluate(() => JSON.parse(sessionStorage.getItem("turn")));
    await page.evaluate(() => location.reload());
    await has(page.locator("#state"), "reading on");
    say({ reloaded: before });
    await told.next();
    await has(page.locator("#state"), "completed");
    const after = await page.evaluate(() => JSON.parse(sessionStorage.getItem("turn")));
    assert.deepEqual(problems, []);
    say({ ...after, shown: await page.locator("#reply").textContent(), origins: [...origins] });
  },

  async stranger(origin, message) {
    await page.goto(origin);
    await page.getByLabel("Message").fill(message);
    await page.getByRole("button", { name: "Ask" }).click();
    await has(page.locator("#state"), "failed");
    assert.ok(problems.some((line) => line.includes("CORS policy")), problems.join("\n"));
    say({ state: await page.locator("#state").textContent(), reply: await page.locator("#reply").textContent() });
  },
};

try {
  const [scene, ...rest] = process.argv.slice(2);
  await scenes[scene](...rest);
} catch (error) {
  console.error(error, problems);
  process.exitCode = 1;
} finally {
  await browser.close();
  await rm(folder, { recursive: true, force: true });
}
process.exit();
