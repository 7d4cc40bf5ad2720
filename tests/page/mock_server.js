// A server that speaks as `weft serve` does to the page, with a pipeline of four stages made up: for
// work on the page, and for what a real engine does not do on demand (stop, run out of blocks, ask
// for a key).
//
//   node tests/page/mock_server.js [PORT]
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const kDist = fileURLToPath(new URL('../../web/dist/', import.meta.url));
const kTypes = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
// As src/serve/page_files.cpp sends it.
const kPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const kStages = 4, kLayers = 30, kBlocks = 4096;
const kWords = 'Each cook does one step and hands the plate on : the first cuts , the second fries , the third seasons , the last serves . While a plate is with the second cook , the first already cuts for the next one . If one cook is slow , all others wait for that one , and the gap is called a bubble . '.match(/\S+ ?/g);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now_us = () => Math.round(performance.now() * 1000) + 5e6;

export class MockServer {
  key = '';
  failure = null;
  refusal = null;    // { status, message } in place of each answer
  model = { name: 'mock-135m', served: 'mock-135m', fingerprint: 'fp_6d6f636b' };
  started_us = 5e6;
  stuck_us = 0;      // for how long a step has been under way
  cut = 0;           // tokens at an answer's end that a stop string takes out of its text; they come slowly
  tokenDelay_ms = 25;
  requests = [];     // bodies of chats
  prefixes = null;   // in place of a made-up tree
  #server; #held = new Map(); #number = 0;
  #lanes = Array.from({ length: kStages }, () => []);
  #steps = []; #free_us = Array(kStages).fill(0);
  #prompt = 0; #cached = 0; #generated = 0; #timer;

  async listen(port = 0) {
    this.#server = http.createServer((request, response) => this.#answer(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
    this.#timer = setInterval(() => this.#advance(), 10);
    return `http://127.0.0.1:${this.#server.address().port}`;
  }
  close() {
    clearInterval(this.#timer);
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }
  // Load without a client: `count` made-up sequences that run until they are dropped.
  hold(count) {
    for (let i = 0; i < count; ++i) this.#hold(40 + 37 * i, i % 3 === 0 ? 32 : 0);
  }
  dropAll() { this.#held.clear(); }

  #hold(prompt, cached) {
    const held = { number: ++this.#number, prompt, cached, generated: 0, arrived: now_us(), first: 0 };
    this.#held.set(held.number, held);
    this.#prompt += prompt;
    this.#cached += cached;
    return held;
  }

  // Up to four micro-batches in a ring; the third stage is the slowest.
  #advance() {
    if (this.failure) return;
    const horizon = now_us();
    const batches = Math.min(kStages, this.#held.size);
    for (const lane of this.#lanes) while (lane.length > 20000) lane.shift();
    while (batches > 0 && this.#free_us[0] < horizon) this.#step(batches, horizon);
  }
  #step(batches, horizon) {
    const id = this.#steps.length;
    const before = this.#steps[id - batches];
    let ready = Math.max(this.#free_us[0], before ? before.answer : 0, horizon - 20000);
    const isPrompt = id % 23 === 0;
    const submitted = ready;
    this.#steps.push({ row: [id, submitted, isPrompt ? 128 : Math.ceil(this.#held.size / batches), Math.ceil(this.#held.size / batches), isPrompt ? 1 : 0, 40, 168, this.#held.size, 0, 40], answer: 0 });
    for (let stage = 0; stage < kStages; ++stage) {
      const begin = Math.max(ready, this.#free_us[stage]);
      const length = Math.round((isPrompt ? 11000 : 4200) * [1, 0.9, 1.25, 0.8][stage] * (0.95 + 0.1 * Math.random()));
      this.#lanes[stage].push([begin, length, 'work', id, Math.round(length * 0.12)]);
      this.#free_us[stage] = begin + length;
      ready = begin + length + 60;
    }
    this.#steps[id].answer = ready;
    const held = [...this.#held.values()];
    for (let i = id % batches; i < held.length; i += batches) {
      held[i].first ||= now_us();
      held[i].generated += 1;
      this.#generated += 1;
    }
  }

  #timeline(since) {
    const now = now_us();
    const workers = this.#lanes.map((lane, row) => {
      const segments = [];
      let at = Math.max(5e6, now - 15e6);
      for (const segment of lane) {
        if (segment[0] > now) break;
        if (segment[0] + segment[1] < at) continue;
        if (segment[0] > at) segments.push([at, segment[0] - at, row === 0 ? 'idle' : 'input', -1, 0]);
        segments.push([segment[0], Math.min(segment[1], now - segment[0]), ...segment.slice(2)]);
        at = segment[0] + segment[1];
      }
      if (at < now) segments.push([at, now - at, 'idle', -1, 0]);
      return { row, ranks: [row, row + 1], stage: row, layers: [[0, 8], [8, 15], [15, 23], [23, 30]][row], dropped: 0, segments: segments.filter((one) => one[0] + one[1] > since) };
    });
    const steps = this.#steps.map((step) => step.row).filter((row) => row[1] > since && row[1] <= now).slice(-5000);
    const active = this.#steps.length > 0;
    return { now_us: now, begin_us: 5e6, pooled: false, workers, steps, summary: {
      active_s: active ? 9.8 : 0, steps: Math.min(this.#steps.length, 1800), in_flight: Math.min(kStages, this.#held.size),
      rows: [0.214, 0.292, 0.021, 0.371].map((measured) => ({ measured, predicted: active ? Math.max(0, measured - 0.013) : null })) } };
  }

  #state() {
    const now = now_us();
    const used = [...this.#held.values()].reduce((sum, held) => sum + Math.ceil((held.prompt + held.generated) / 16), 0);
    const rank = (stage, begin, end) => ({ rank: stage, stage, shard: 0, layers: [begin, end], heads: '9', kv_heads: '3', ffn: '1536', vocab_rows: stage % 3 === 0 ? 49152 : 0, weight_bytes: stage % 3 === 0 ? 3.1e7 : 1.5e7, kv_bytes: 4.4e7 + 5e5 * (end - begin), step_bytes: 6e6, reduce_bytes_per_token: 0 });
    const stage = (index, busy) => ({ ranks: [index, index + 1], busy_s: busy * 0.88, collectives_s: busy * 0.12, input_s: index ? 8 - busy : 0, nothing_s: index ? 1.6 : 9.4 - busy, sending_s: 0.1, scheduler_s: index ? 0.3 : 0.5, window_s: 10, bubble: 1 - busy / 10 });
    return {
      now_us: now,
      engine: { alive: !this.failure, paused: false, failure: this.failure, last_step_us: now - 4000, in_step_since_us: this.stuck_us ? now - this.stuck_us : 0, started_us: this.started_us },
      model: { name: this.model.name, fingerprint: this.model.fingerprint, architecture: 'llama', family: 'llama', file_type: 'Q4_1', parameters: 134515008, file_bytes: 9e7, layers: kLayers, hidden_size: 576, heads: 9, kv_heads: 3, vocab_size: 49152, max_model_len: 8192, isa: 'avx512' },
      split: { topology: 'pp 4', imbalance: 1.08, ranks: [rank(0, 0, 8), rank(1, 8, 15), rank(2, 15, 23), rank(3, 23, 30)], draft: null, asked_and_got: [], warnings: [] },
      pipeline: { pooled: false, window_s: 10, steps: 1800, stages: [stage(0, 7.4), stage(1, 6.7), stage(2, 7.9), stage(3, 6)] },
      cache: { blocks: kBlocks, used, cached: 900, free: kBlocks - used - 900, window: null, dtype: 'bf16', block_size: 16, prompt_tokens: this.#prompt, cached_prompt_tokens: this.#cached },
      work: { prompt_tokens: this.#prompt, generated_tokens: this.#generated, steps: this.#steps.length, preemptions: 0, scheduler_s: 0.2, guessed_tokens: 0, accepted_tokens: 0 },
      limits: { max_num_seqs: 64, max_num_batched_tokens: 512 },
      queue: { waiting: 0, running: this.#held.size, requests: [...this.#held.values()].map((held) => ({ number: held.number, mine: held.number % 2 === 1, principal: held.number % 2 === 1 ? 'anonymous' : null, running: true, priority: 0, choices: 1, prompt_tokens: held.prompt, cached_tokens: held.cached, generated_tokens: held.generated, preemptions: 0, arrived_us: held.arrived, scheduled_us: held.arrived + 900, first_token_us: held.first })) },
    };
  }

  // Two beginnings of the viewer's and one of another key's; below the first, what is held goes on.
  #cache() {
    const now = now_us() + 1e10;  // hours after the start
    const none = { runs: 0, blocks: 0, tokens: 0, used: 0 };
    const runs = [];
    const add = (parent, block, blocks, more = {}) => runs.push({ block, parent, blocks, tokens: 16 * blocks, sequences: 0, new: false, idle_since_us: 0, mine: true, more: none, ...more }) - 1;
    const held = [...this.#held.values()];
    const idle = (seconds) => ({ idle_since_us: now - seconds * 1e6 });
    const system = add(-1, 10, 40, held.length > 0 ? { sequences: held.length } : idle(3));
    add(system, 700, 30, { ...idle(95), more: { runs: 12, blocks: 20, tokens: 290, used: 0 } });
    for (const [index, one] of held.entries())
      add(system, 100 + 60 * index, 1 + Math.floor((one.prompt + one.generated) / 16), { sequences: 1, new: index === 0 });
    const other = add(-1, 900, 60, { ...idle(20), mine: false });
    add(other, 960, 12, { ...idle(20), mine: false });
    add(other, 980, 8, { ...idle(45), mine: false });
    add(-1, 990, 9, idle(7000));
    const sum = (of) => of.reduce((all, run) => ({ runs: all.runs + 1 + run.more.runs, blocks: all.blocks + run.blocks + run.more.blocks, tokens: all.tokens + run.tokens + run.more.tokens, used: all.used + (run.sequences > 0 ? run.blocks : 0) }), none);
    const more = { runs: 3, blocks: 7, tokens: 100, used: 0 };
    const mine = sum(runs.filter((run) => run.mine)), others = sum(runs.filter((run) => !run.mine));
    return { now_us: now, made_us: now, enabled: true, block_size: 16, published: mine.blocks + others.blocks + more.blocks + 5, unpublished: held.length, not_seen: 5,
             owners: { principal: 'anonymous', mine, others, unknown: more }, runs, more };
  }

  async #answer(request, response) {
    const url = new URL(request.url, 'http://mock');
    const json = (status, body) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const refuse = (status, message) => json(status, { error: { message, type: 'invalid_request_error', param: null, code: null } });
    if (url.pathname === '/' || url.pathname.startsWith('/assets/')) return this.#file(url.pathname, response);
    if (this.key && request.headers.authorization !== `Bearer ${this.key}`) return refuse(401, 'Incorrect API key provided.');
    if (url.pathname === '/weft/state') return json(200, this.#state());
    if (url.pathname === '/weft/timeline') return json(200, this.#timeline(Number(url.searchParams.get('since_us') ?? 0)));
    if (url.pathname === '/weft/cache') return json(200, this.prefixes ?? this.#cache());
    if (url.pathname === '/v1/models') return json(200, { object: 'list', data: [{ id: this.model.served, object: 'model' }] });
    if (url.pathname === '/v1/chat/completions') return this.#chat(request, response, refuse);
    return refuse(404, 'There is no such route.');
  }

  async #file(name, response) {
    const file = path.join(kDist, name === '/' ? 'index.html' : path.normalize(name));
    const bytes = await readFile(file).catch(() => null);
    if (!bytes) return void response.writeHead(404).end();
    response.writeHead(200, { 'Content-Type': kTypes[path.extname(file)] ?? 'text/plain', 'Content-Security-Policy': kPolicy, 'X-Content-Type-Options': 'nosniff' });
    response.end(bytes);
  }

  async #chat(request, response, refuse) {
    let text = '';
    for await (const part of request) text += part;
    const body = JSON.parse(text);
    this.requests.push(body);
    if (this.failure) return refuse(503, 'The engine has stopped.');
    if (this.refusal) return refuse(this.refusal.status, this.refusal.message);
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const held = this.#hold(24, 8);
    let gone = false;
    response.on('close', () => { gone = true; this.#held.delete(held.number); });
    const send = (choices, more = {}) => response.write(`data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', choices, ...more })}\n\n`);
    send([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]);
    await sleep(120);
    const schema = body.response_format?.type === 'json_schema';
    const words = schema ? ['{"', 'city', '": "', 'Basel', '", "', 'country', '": "', 'Switzerland', '", "population": ', '178120', '}'] : kWords;
    const count = Math.min(words.length, body.max_tokens);
    for (let i = 0; i < count && !gone; ++i) {
      await sleep(this.tokenDelay_ms * (i < count - this.cut ? 1 : 15));
      if (this.failure) {
        response.write(`data: ${JSON.stringify({ error: { message: `The engine stopped: ${this.failure.what}.`, type: 'server_error', param: null, code: null } })}\n\n`);
        return response.end();
      }
      const p = [0.97, 0.62, 0.34, 0.991, 0.12, 0.88, 0.04][i % 7];
      const entry = (token, value) => ({ token, logprob: Math.log(value), bytes: [...Buffer.from(token)] });
      const top = [[words[i], p], [' a', (1 - p) * 0.6], [' its', (1 - p) * 0.2], ['\n', (1 - p) * 0.1], [' one', (1 - p) * 0.05]].sort((a, b) => b[1] - a[1]);
      send([{ index: 0, delta: { content: i < count - this.cut ? words[i] : '' }, finish_reason: null, logprobs: body.logprobs ? { content: [{ ...entry(words[i], p), top_logprobs: top.map(([token, value]) => entry(token, value)) }] } : null }]);
    }
    send([{ index: 0, delta: {}, finish_reason: count < words.length ? 'length' : 'stop' }]);
    if (body.stream_options?.include_usage) send([], { usage: { prompt_tokens: 24, completion_tokens: count, total_tokens: 24 + count, prompt_tokens_details: { cached_tokens: 8 } } });
    response.end('data: [DONE]\n\n');
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = new MockServer();
  mock.hold(6);
  console.log(await mock.listen(Number(process.argv[2] ?? 8000)));
}
