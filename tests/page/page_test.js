// The page against a made-up server: all that a real one does not do on demand.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { ask, chartPixels, faintTexts, launch, open } from './browser.js';
import { MockServer } from './mock_server.js';

const kViews = ['playground', 'timeline', 'machine', 'queue'];
let browser, mock, url, page;

before(async () => { browser = await launch(); });
after(() => browser?.close());
beforeEach(async () => {
  mock = new MockServer();
  url = await mock.listen();
});
afterEach(async () => {
  assert.deepEqual(page?.errors ?? [], []);
  await page?.context().close();
  await mock.close();
});

const answered = () => page.getByText('mean probability').waitFor();

describe('playground', () => {
  it('streams an answer and tells what it took', async () => {
    page = await open(browser, url);
    await ask(page, 'Hello');
    const lengths = [];
    while (await page.getByText('mean probability').count() === 0) {
      lengths.push((await page.locator('.tokens').allTextContents()).join('').length);
      await page.waitForTimeout(60);
    }
    const growing = new Set(lengths.filter((length) => length > 0));
    assert.ok(growing.size >= 5, `the text grew in ${growing.size} steps`);
    const figures = await page.locator('.figures').textContent();
    assert.match(figures, /first token[\d.]+ m?s/);
    assert.match(figures, /speed\d+\.\d tokens\/s/);
    assert.match(figures, /prompt24 \(8 cached\)/);
    assert.equal(mock.requests[0].stream, true);
    assert.equal(mock.requests[0].top_logprobs, 5);
  });

  it('keeps the turns of a conversation, and asks again', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 1;
    await ask(page, 'First');
    await answered();
    await ask(page, 'Second');
    await page.waitForFunction(() => document.querySelectorAll('.turn.assistant .figures').length === 2);
    assert.deepEqual(mock.requests[1].messages.map((turn) => turn.role), ['user', 'assistant', 'user']);
    await page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'));
    await page.getByRole('button', { name: 'Retry' }).click();
    await page.waitForFunction(() => document.querySelectorAll('[aria-busy="true"]').length === 1);
    assert.equal(mock.requests[2].messages.length, 3);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('button', { name: 'New chat' }).click();
    assert.equal(await page.locator('.turn').count(), 0);
  });

  it('shows alternatives by mouse and by keyboard', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 1;
    await ask(page, 'Hello');
    await answered();
    await page.locator('.token[data-index="2"]').hover();
    const tip = page.locator('.alternatives');
    assert.match(await tip.textContent(), /34\.0 %/);
    assert.equal(await tip.locator('.alternative').count(), 5);
    await page.mouse.move(5, 700);
    await page.locator('.token[data-index="0"]').focus();
    await page.keyboard.press('ArrowRight');
    assert.match(await tip.textContent(), /62\.0 %/);
    assert.equal(await page.evaluate(() => document.activeElement.dataset.index), '1');
    await page.keyboard.press('Escape');
    assert.equal(await tip.count(), 0);
  });

  it('describes a token by its alternatives, and never loses its stop of the Tab key', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 10;
    mock.cut = 10;
    await ask(page, 'Hello');
    await page.locator('.token[data-index="60"]').waitFor();
    await page.locator('.token[data-index="60"]').focus();  // one of those that are cut
    await answered();
    const count = await page.locator('.token[data-index]').count();
    assert.ok(count < 60, `${count} tokens are left`);
    const stop = page.getByRole('listbox').getByRole('option').and(page.locator('[tabindex="0"]'));
    assert.equal(await stop.getAttribute('data-index'), `${count - 1}`);
    await stop.focus();
    const tip = page.getByRole('tooltip');
    assert.equal(await stop.getAttribute('aria-describedby'), await tip.getAttribute('id'));
    await page.keyboard.press('ArrowLeft');
    assert.equal(await page.evaluate(() => document.activeElement.dataset.index), `${count - 2}`);
    assert.equal(await page.locator('[aria-describedby]').getAttribute('data-index'), `${count - 2}`);
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.token[aria-describedby]').count(), 0);
  });

  it('stops, and the server hears of it', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 60;
    await ask(page, 'Hello');
    await page.locator('.token').first().waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('by you').waitFor();
    await page.waitForFunction(() => document.querySelector('.health .pill').textContent === 'Ready');
  });

  it('asks for structured output, and refuses a schema that is none', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 1;
    await page.getByLabel('Answer as').selectOption('json_schema');
    await page.getByRole('textbox', { name: 'Schema' }).fill('{');
    await page.getByLabel('Your message').fill('A city');
    await page.keyboard.press('Enter');
    assert.equal(mock.requests.length, 0);
    assert.notEqual(await page.locator('#schema-problem').textContent(), '');
    assert.ok(await page.getByRole('button', { name: 'Code' }).isDisabled());
    await page.getByRole('textbox', { name: 'Schema' }).fill('{"type": "object"}');
    await ask(page, 'A city');
    await answered();
    await page.getByRole('textbox', { name: 'Schema' }).fill('{');
    assert.ok(await page.getByRole('button', { name: 'Retry' }).isDisabled());
    await page.getByRole('textbox', { name: 'Schema' }).fill('{"type": "object"}');
    assert.ok(await page.getByRole('button', { name: 'Retry' }).isEnabled());
    assert.deepEqual(mock.requests[0].response_format.json_schema.schema, { type: 'object' });
    assert.equal(JSON.parse(await page.locator('.tokens').textContent()).city, 'Basel');
  });

  it('copies the request as curl and Python, without the key', async () => {
    mock.key = 'top-secret';
    page = await open(browser, url);
    await page.getByLabel('Key', { exact: true }).fill('top-secret');
    await page.keyboard.press('Enter');
    await page.getByText('Ready').waitFor();
    await page.getByLabel('Your message').fill("It's");
    await page.getByRole('button', { name: 'Code' }).click();
    const code = page.getByLabel('Code', { exact: true }).last();
    assert.match(await code.inputValue(), /curl -N http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions/);
    assert.match(await code.inputValue(), /It'\\''s/);
    await page.getByRole('button', { name: 'Python' }).click();
    const python = await code.inputValue();
    assert.match(python, /OpenAI\(base_url="http/);
    assert.match(python, /stream=True/);
    assert.doesNotMatch(python, /top-secret/);
  });
});

describe('trouble', () => {
  it('asks for a key, says that one is wrong, and keeps it for the tab alone', async () => {
    mock.key = 'right';
    page = await open(browser, url);
    await page.getByText('This server asks for an API key.').waitFor();
    await page.getByLabel('Key', { exact: true }).fill('wrong');
    await page.keyboard.press('Enter');
    await page.locator('dialog').getByText('The server refused this key.').waitFor();
    await page.getByLabel('Key', { exact: true }).fill('right');
    await page.keyboard.press('Enter');
    await page.getByText('Ready').waitFor();
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    assert.equal(await page.evaluate(() => sessionStorage.length), 1);
  });

  it('says that the engine stopped, in the frame and under the answer', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 60;
    await ask(page, 'Hello');
    await page.locator('.token').first().waitFor();
    mock.failure = { what: 'rank 1 was lost', why: 'it did not answer in 60 s', mend: 'Start the server again.' };
    await page.locator('.banner').getByText('The engine stopped: rank 1 was lost: it did not answer in 60 s').waitFor();
    await page.locator('.turn').getByText('The engine stopped').waitFor();
    await page.getByLabel('Your message').fill('More');
    assert.ok(await page.getByRole('button', { name: 'Send' }).isDisabled());
    assert.ok(await page.getByRole('button', { name: 'Retry' }).isDisabled());
    await page.keyboard.press('Enter');
    await page.waitForTimeout(300);
    assert.equal(mock.requests.length, 1);
  });

  it('says what a proxied server refuses, and asks for no key', async () => {
    page = await open(browser, url);
    await page.getByText('Ready').waitFor();
    mock.refusal = { status: 403, message: 'requests of other sites are not answered (--allowed-hosts adds names)' };
    await ask(page, 'Hello');
    await page.locator('.turn').getByText('requests of other sites are not answered (--allowed-hosts adds names)').waitFor();
    assert.equal(await page.getByText('asks for a key').count(), 0);
  });

  it('asks for the model that is there after a restart', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 1;
    await ask(page, 'Hello');
    await answered();
    assert.equal(mock.requests[0].model, 'mock-135m');
    // Another model, then the same one under another name.
    const restarts = [[{ name: 'other-1b', served: 'other', fingerprint: 'fp_6f74686572' }, 6e6],
                      [{ name: 'other-1b', served: 'renamed', fingerprint: 'fp_6f74686572' }, 7e6]];
    for (const [model, started_us] of restarts) {
      await mock.close();
      await page.getByText('The server does not answer; what is shown is from before.').waitFor();
      mock = new MockServer();
      Object.assign(mock, { model, started_us, tokenDelay_ms: 1 });
      await mock.listen(Number(new URL(url).port));
      const listed = page.waitForResponse((response) => response.url().endsWith('/v1/models'), { timeout: 5000 }).catch(() => null);
      await page.getByRole('button', { name: 'Try now' }).click();
      await page.locator('.health .pill').getByText('Ready').waitFor();
      await listed;
      await page.getByRole('button', { name: 'Retry' }).click();
      while (mock.requests.length === 0) await page.waitForTimeout(50);
      assert.equal(mock.requests[0].model, model.served);
      await answered();
    }
  });

  it('says that the server does not answer, and goes on when it does', async () => {
    page = await open(browser, url);
    await page.getByText('Ready').waitFor();
    await mock.close();
    await page.getByText('The server does not answer; what is shown is from before.').waitFor();
    const again = new MockServer();
    await again.listen(Number(new URL(url).port));
    await page.getByRole('button', { name: 'Try now' }).click();
    await page.getByText('Ready').waitFor();
    mock = again;
  });

  it('says that an answer broke off', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 60;
    await ask(page, 'Hello');
    await page.locator('.token').first().waitFor();
    await mock.close();
    await page.locator('.turn').getByText('The connection to the server broke.').waitFor();
  });
});

describe('seeing inside', () => {
  it('moves under load, pauses, and zooms by keyboard', async () => {
    mock.hold(5);
    page = await open(browser, `${url}/#timeline`);
    await page.locator('.lane-label').getByText('Stage 3').waitFor();
    await page.waitForTimeout(1500);
    const first = await chartPixels(page);
    await page.waitForTimeout(1200);
    assert.notEqual(await chartPixels(page), first, 'the chart moves');
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.waitForTimeout(100);
    const paused = await chartPixels(page);
    await page.waitForTimeout(1200);
    assert.equal(await chartPixels(page), paused, 'the chart stands still');
    await page.locator('.chart-canvas').focus();
    await page.keyboard.press('+');
    await page.getByText('250 ms').waitFor();
    await page.keyboard.press('ArrowLeft');
    await page.waitForTimeout(100);
    assert.notEqual(await chartPixels(page), paused);
    await page.keyboard.press('Space');
    await page.getByRole('button', { name: 'Pause' }).waitFor();
    assert.equal(await page.getByRole('row').count(), 5);
    assert.match(await page.getByRole('row').nth(1).textContent(), /21\.4 %20\.1 %/);
  });

  it('tells of a step under the mouse', async () => {
    mock.hold(5);
    page = await open(browser, `${url}/#timeline`);
    await page.locator('.lane-label').getByText('Stage 3').waitFor();
    await page.waitForTimeout(1500);
    await page.getByRole('button', { name: 'Pause' }).click();
    const box = await page.locator('.chart-canvas').boundingBox();
    const seen = new Set();
    for (let x = 40; x < 400; x += 9) {
      await page.mouse.move(box.x + x, box.y + 26 + 2 * 48 + 20);
      seen.add(await page.locator('.tip').textContent());
    }
    assert.ok([...seen].some((words) => /^Step \d+takes.*collectives12 %/.test(words)), [...seen].join());
  });

  it('shows ranks, blocks and requests, and nothing of their text', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 100;
    await ask(page, 'a very private question');
    await page.locator('.token').first().waitFor();
    await page.getByRole('link', { name: 'Machine' }).click();
    await page.getByText('layers 15–22').waitFor();
    assert.equal(await page.locator('.layer-rank').count(), 4);
    await page.getByRole('link', { name: 'Cache & queue' }).click();
    await page.getByText('1 running, 0 waiting').waitFor();
    assert.equal(await page.locator('.cells i').count(), 240);
    for (const path of ['/weft/state', '/weft/timeline', '/weft/cache'])
      assert.doesNotMatch(await (await fetch(url + path)).text(), /private/);
    // The answer goes on meanwhile.
    await page.getByRole('link', { name: 'Playground' }).click();
    assert.ok(await page.locator('.token').count() > 2);
  });
});

describe('prefix tree', () => {
  const run = (text) => page.locator('.run').filter({ hasText: text });
  const tip = () => page.locator('.tip.in-icicle');
  // Of the picture's width, in per mille.
  const shares = () => page.locator('.run').evaluateAll((runs) => runs.map((run) => {
    const whole = run.parentElement.getBoundingClientRect(), box = run.getBoundingClientRect();
    return { key: run.dataset.key, level: Number(run.getAttribute('aria-level')), left: Math.round(1000 * (box.left - whole.left) / whole.width), width: Math.round(1000 * box.width / whole.width) };
  }));

  it('is as wide as its blocks, children below their parents', async () => {
    mock.hold(3);
    page = await open(browser, `${url}/#queue`);
    await run('tokens, 3×').waitFor();
    const tree = await (await fetch(`${url}/weft/cache`)).json();
    mock.prefixes = tree;  // which stands still
    await page.waitForTimeout(1500);
    const blocks = (sum, one) => sum + one.blocks + one.more.blocks;
    assert.equal(tree.runs.reduce(blocks, tree.more.blocks + tree.not_seen), tree.published);
    const shown = await shares();
    const of = (key) => shown.find((one) => one.key === key);
    assert.deepEqual(of('root'), { key: 'root', level: 1, left: 0, width: 1000 });
    const near = (a, b) => assert.ok(Math.abs(a - b) <= 12, `${a} of ${b}`);
    near(of('run-900').width, 1000 * 80 / tree.published);
    near(of('more-root').width, 1000 * 7 / tree.published);
    near(of('unseen').width, 1000 * 5 / tree.published);
    near(of('more-run-700').width, 1000 * 20 / tree.published);
    assert.equal(of('run-960').level, 3);
    near(of('run-960').left, of('run-900').left);
    near(of('run-980').left, of('run-960').left + of('run-960').width);
    await page.getByText('yours (anonymous)').waitFor();
  });

  it('tells numbers by mouse and by keyboard, and enlarges a part', async () => {
    mock.hold(3);
    page = await open(browser, `${url}/#queue`);
    await page.locator('[data-key="run-700"]').hover();
    assert.match(await tip().textContent(), /^Cachedblocks30tokens480with all below50 blocksunused for1 min 35 sofyou$/);
    await page.locator('[data-key="run-900"]').hover();
    assert.match(await tip().textContent(), /ofanother key$/);
    await page.mouse.move(5, 5);
    await page.locator('[data-key="root"]').focus();
    const at = () => page.evaluate(() => document.activeElement.dataset.key);
    for (const [key, to] of [['ArrowDown', 'run-10'], ['ArrowRight', 'run-900'], ['ArrowDown', 'run-960'], ['ArrowRight', 'run-980'], ['ArrowUp', 'run-900'], ['Home', 'root'], ['ArrowDown', 'run-10']]) {
      await page.keyboard.press(key);
      assert.equal(await at(), to);
    }
    assert.match(await tip().textContent(), /^Held by 3 sequencesblocks40/);
    assert.match(await page.locator('[data-key="run-10"]').getAttribute('aria-label'), /^Held by 3 sequences, blocks 40, tokens 640/);
    await page.keyboard.press('Enter');
    await page.locator('[data-key="run-900"]').waitFor({ state: 'detached' });
    assert.equal((await shares()).find((one) => one.key === 'run-10').width, 1000);
    assert.equal(await at(), 'run-10');
    // The next look keeps what is enlarged, and where the keyboard is.
    await page.waitForTimeout(1500);
    assert.equal((await shares()).find((one) => one.key === 'run-10').width, 1000);
    assert.equal(await at(), 'run-10');
    await page.keyboard.press('Escape');
    await page.locator('[data-key="run-900"]').waitFor();
  });

  it('is a table too', async () => {
    page = await open(browser, `${url}/#queue`);
    await page.getByText('As a table').click();
    const rows = page.locator('.run-table tbody tr');
    assert.equal(await rows.count(), 9);
    assert.equal(await rows.nth(0).textContent(), '1Cached4090640' + '03.0 syou');
    assert.equal(await rows.nth(2).textContent(), '312 smaller parts2020290–––');
    assert.equal(await rows.nth(8).textContent(), '1Not looked at55––––');
  });

  it('says that there is nothing, and moves when there is', async () => {
    const none = { runs: 0, blocks: 0, tokens: 0, used: 0 };
    mock.prefixes = { now_us: 1, made_us: 1, enabled: false, block_size: 16, published: 0, unpublished: 0, not_seen: 0, owners: { principal: 'anonymous', mine: none, others: none, unknown: none }, runs: [], more: none };
    page = await open(browser, `${url}/#queue`);
    await page.getByText('Prefixes are not cached').waitFor();
    mock.prefixes = { ...mock.prefixes, enabled: true };
    await page.getByText('Nothing is cached yet.').waitFor();
    mock.prefixes = null;
    await page.locator('.icicle .run-cached').first().waitFor();
    mock.hold(2);
    await run('tokens, 2×').waitFor();
  });
});

describe('for everyone', () => {
  it('speaks of changes of kind, and not of each look', async () => {
    page = await open(browser, url);
    await page.getByText('Ready').waitFor();
    await page.evaluate(() => {
      globalThis.spoken = [];
      new MutationObserver((changes) => {
        for (const { target } of changes) {
          const region = (target instanceof Element ? target : target.parentElement)?.closest('[role="status"], [role="alert"]');
          if (region) globalThis.spoken.push(region.textContent);
        }
      }).observe(document.querySelector('.frame'), { subtree: true, childList: true, characterData: true });
    });
    for (const count of [1, 2, 3]) {
      mock.hold(1);
      await page.locator('.health .pill').getByText(`${count} running`).waitFor();
    }
    assert.deepEqual(await page.evaluate(() => globalThis.spoken), []);
    mock.stuck_us = 15e6;
    const said = page.locator('.banner [role="status"]');
    await said.waitFor();
    assert.equal(await said.textContent(), 'One step takes very long:');
    await page.evaluate(() => { globalThis.spoken = []; });
    const shown = await page.locator('.banner').textContent();
    mock.stuck_us = 25e6;
    await page.waitForFunction((before) => document.querySelector('.banner').textContent !== before, shown);
    assert.deepEqual(await page.evaluate(() => globalThis.spoken), []);
    mock.stuck_us = 0;
    mock.failure = { what: 'rank 1 was lost', why: 'it did not answer', mend: '' };
    await page.getByRole('alert').waitFor();
    assert.equal(await page.locator('.health [role="status"]').textContent(), '');
  });

  it('works by keyboard alone', async () => {
    page = await open(browser, url);
    mock.tokenDelay_ms = 1;
    await page.getByText('Ready').waitFor();
    const stops = [];
    for (let i = 0; i < 40 && !stops.includes('Your message'); ++i) {
      await page.keyboard.press('Tab');
      stops.push(await page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent));
      assert.ok(await page.evaluate(() => document.activeElement.matches(':focus-visible')));
    }
    for (const name of ['Skip to content', 'Timeline', 'Machine', 'API key', 'Your message']) assert.ok(stops.includes(name), `${name} of ${stops}`);
    await page.keyboard.type('Hello');
    await page.keyboard.press('Enter');
    await answered();
    await page.getByRole('link', { name: 'Timeline' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  });

  it('fits narrow screens', async () => {
    mock.hold(3);
    for (const width of [320, 390]) {
      page = await open(browser, url, { viewport: { width, height: 740 } });
      for (const view of kViews) {
        await page.goto(`${url}/#${view}`);
        await page.waitForTimeout(700);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${view} is ${wide} px too wide for ${width}`);
        const main = await page.locator('main').evaluate((element) => element.scrollWidth - element.clientWidth);
        assert.ok(main <= 0, `${view} is ${main} px too wide inside ${width}`);
      }
      assert.deepEqual(page.errors, []);
      if (width < 390) await page.context().close();
    }
  });

  for (const colorScheme of ['light', 'dark']) {
    it(`has contrast, ${colorScheme}`, async () => {
      mock.hold(3);
      mock.tokenDelay_ms = 1;
      page = await open(browser, url, { colorScheme });
      await page.getByText('3 running').waitFor();
      await ask(page, 'Hello');
      await answered();
      await page.locator('.token[data-index="3"]').hover();
      for (const view of kViews) {
        if (view !== 'playground') await page.goto(`${url}/#${view}`);
        await page.waitForTimeout(700);
        assert.deepEqual(await faintTexts(page), [], view);
      }
      const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(Number(back.match(/\d+/)[0]) < 60, colorScheme === 'dark', back);
    });
  }
});
