// The page against `weft serve` with a small model on four ranks: chat, the timeline under load, the
// ranks as they are, and what the page says when the server dies. Skipped where there is no program
// or no model.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ask, chartPixels, launch, open, shoot } from './browser.js';

const kRoot = fileURLToPath(new URL('../../', import.meta.url));
const kWeft = process.env.WEFT ?? `${kRoot}build/weft`;
const kModel = process.env.WEFT_PAGE_MODEL ?? `${kRoot}build/test_models/SmolLM2-135M-Instruct.Q4_1.gguf`;
const kSplit = (process.env.WEFT_PAGE_SPLIT ?? '--tp 2 --pp 2').split(' ');
const kPort = 18000 + process.pid % 10000;
const url = `http://127.0.0.1:${kPort}`;

// The program's own output is for whoever reads a failure.
async function serve() {
  const server = spawn(kWeft, ['serve', kModel, ...kSplit, '--port', `${kPort}`, '--served-model-name', 'smollm2'],
                       { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (text) => { said += text; });
  for (let i = 0; i < 600; ++i) {
    if (server.exitCode !== null) throw new Error(`weft serve ended:\n${said}`);
    const ready = await fetch(`${url}/ready`).then((response) => response.ok, () => false);
    if (ready) return server;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  server.kill('SIGKILL');
  throw new Error(`weft serve was not ready in time:\n${said}`);
}

// Answers nobody reads, to give the pipeline something to do. Ends with the server, or the signal.
async function load(count, signal) {
  const topics = ['rivers', 'bridges', 'clocks', 'bread', 'ships', 'glass', 'maps', 'stars'];
  await Promise.allSettled(Array.from({ length: count }, async (_, i) => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, signal,
      body: JSON.stringify({ model: 'smollm2', stream: true, temperature: 0.9, max_tokens: 4000, ignore_eos: true,
                             messages: [{ role: 'user', content: `Write a long story about ${topics[i % topics.length]}.` }] }),
    });
    await response.text();
  }));
}

const isThere = existsSync(kWeft) && existsSync(kModel);

describe('weft serve', { skip: isThere ? false : 'build/weft or its model is not there' }, () => {
  let browser, page, server;
  before(async () => {
    server = await serve();
    browser = await launch();
    page = await open(browser, url);
  });
  after(async () => {
    server?.kill('SIGKILL');
    await browser?.close();
  });

  it('sends the files compressed and with their policy', async () => {
    const response = await fetch(`${url}/`, { headers: { 'Accept-Encoding': 'gzip' } });
    assert.match(response.headers.get('content-security-policy'), /default-src 'none'/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    assert.match(response.headers.get('etag'), /^"[0-9a-f]{32}"$/);
    const script = (await response.text()).match(/\/assets\/[^"]+\.js/)[0];
    const asset = await fetch(url + script, { headers: { 'Accept-Encoding': 'gzip' } });
    assert.equal(asset.headers.get('content-encoding'), 'gzip');
    assert.match(asset.headers.get('cache-control'), /immutable/);
  });

  it('chats', async () => {
    await page.getByText('Ready').waitFor();
    await shoot(page, 'empty');
    await page.getByLabel('Seed').fill('7');
    await ask(page, 'What is a pipeline in a processor? Answer in three sentences.');
    await page.getByText('mean probability').waitFor({ timeout: 120000 });
    assert.ok(await page.locator('.token').count() > 10);
    assert.match(await page.locator('.figures').textContent(), /speed[\d.]+ tokens\/s.*prompt\d+/);
    const unsure = page.locator('.turn.assistant .p3, .turn.assistant .p4').first();
    await unsure.hover();
    assert.ok(await page.locator('.alternative').count() >= 5);
    await shoot(page, 'playground');
  });

  it('shows the split as it is', async () => {
    await page.goto(`${url}/#machine`);
    await page.locator('.layer-rank').first().waitFor();
    const state = await (await fetch(`${url}/weft/state`)).json();
    assert.equal(await page.locator('.layer-rank').count(), state.split.ranks.length);
    assert.equal(state.split.ranks.at(-1).layers[1], state.model.layers);
  });

  it('shows what requests share of the cache', { timeout: 240000 }, async () => {
    const systems = ['You are a helpful librarian. You answer questions about books, their authors, the shelves where they stand and the rules of the house, in plain words and at most three sentences.',
                     'You are a patient teacher of physics for children of ten years. You explain with things from the kitchen and the playground, never with formulas, and you end with a question.'];
    const questions = [['Who wrote Moby-Dick?', 'May I bring a sandwich?', 'Where are the atlases?', 'How long may I keep a book?'],
                       ['Why is the sky blue?', 'Why does ice swim on water?', 'What makes a swing stop?']];
    const before = await (await fetch(`${url}/weft/cache`)).json();
    await Promise.all(systems.flatMap((system, i) => questions[i].map((question, j) => fetch(`${url}/v1/chat/completions`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ model: 'smollm2', max_tokens: 40 + 60 * j, ignore_eos: true, messages: [{ role: 'system', content: system }, { role: 'user', content: question }] }),
    }).then((response) => response.json()))));
    const end = new AbortController();
    const running = load(3, end.signal);
    await page.goto(`${url}/#queue`);
    await page.getByText('3 running, 0 waiting').waitFor();
    // The legend has the same classes.
    await page.waitForFunction(() => document.querySelectorAll('.icicle .run-used').length >= 3 && document.querySelectorAll('.icicle .run-cached').length >= 5);
    const text = await (await fetch(`${url}/weft/cache`)).text();
    const answered = JSON.parse(text);
    assert.ok(answered.published > before.published + 20);
    const blocks = (sum, one) => sum + one.blocks + one.more.blocks;
    assert.equal(answered.runs.reduce(blocks, answered.more.blocks + answered.not_seen), answered.published);
    assert.equal(answered.owners.mine.blocks, answered.published);
    assert.ok(answered.runs.some((one) => one.sequences > 0) && answered.runs.some((one) => one.idle_since_us > 0));
    // Four questions under one system prompt: a part that nobody has to compute again.
    const shared = answered.runs.findIndex((one, at) => one.tokens >= 32 && answered.runs.filter((child) => child.parent === at).length >= 3);
    assert.notEqual(shared, -1, text);
    assert.doesNotMatch(text, /librarian|physics/);
    await page.locator('.icicle').evaluate((tree) => tree.scrollIntoView({ block: 'center' }));
    await page.locator(`[data-key="run-${answered.runs[shared].block}"]`).hover();
    await page.locator('.tip.in-icicle').waitFor();
    await shoot(page, 'cache');
    end.abort();
    await running;
    await page.getByText('0 running, 0 waiting').waitFor();
    await page.waitForFunction(() => !document.querySelector('.icicle .run-used'));
  });

  it('shows the pipeline moving under load', { timeout: 240000 }, async () => {
    const loaded = load(8);
    await page.goto(`${url}/#timeline`);
    await page.waitForFunction(() => /\d %/.test(document.querySelector('.tile-value')?.textContent ?? ''), null, { timeout: 60000 });
    await page.waitForTimeout(6000);
    const first = await chartPixels(page);
    await page.waitForTimeout(1500);
    assert.notEqual(await chartPixels(page), first);
    const timeline = await (await fetch(`${url}/weft/timeline`)).json();
    for (const { measured, predicted } of timeline.summary.rows) {
      assert.ok(measured >= -0.01 && measured < 1, `measured ${measured}`);
      assert.ok(predicted !== null && predicted >= -0.01 && predicted < 1, `predicted ${predicted}`);
    }
    for (const worker of timeline.workers)
      worker.segments.forEach((segment, i) => {
        if (i > 0) assert.ok(Math.abs(segment[0] - worker.segments[i - 1][0] - worker.segments[i - 1][1]) <= 1);
      });
    await shoot(page, 'timeline');
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.waitForTimeout(1200);
    await shoot(page, 'timeline-dark');
    await page.goto(`${url}/#machine`);
    await page.waitForTimeout(1500);
    await shoot(page, 'machine-dark');
    await page.emulateMedia({ colorScheme: 'light' });
    await page.goto(`${url}/#queue`);
    await page.getByText('8 running, 0 waiting').waitFor();
    assert.equal(await page.locator('tbody tr').count(), 8);
    await page.waitForTimeout(3000);
    await shoot(page, 'queue');
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${url}/#timeline`);
    await page.waitForTimeout(2500);
    await shoot(page, 'timeline-narrow');
    await page.setViewportSize({ width: 1280, height: 800 });
    loaded.catch(() => undefined);
  });

  it('says that the server died, and an answer with it', async () => {
    await page.goto(`${url}/#playground`);
    await ask(page, 'Write a long story about the sea.');
    await page.locator('.turn.assistant').last().locator('.token').first().waitFor({ timeout: 120000 });
    server.kill('SIGKILL');
    await page.locator('.turn').getByText('The connection to the server broke.').waitFor();
    await page.getByText('The server does not answer').waitFor();
    assert.deepEqual(page.errors, []);
  });
});
