// The cache's blocks by owner, and the requests that run and wait: numbers alone.
import { useEffect, useRef, useState } from 'preact/hooks';
import { count, duration, percent, plural, short } from './format';
import { PrefixTree } from './prefix_tree';
import { Sparkline } from './sparkline';
import type { BlockCounts, HeldRequest, State } from './types';

export interface Sample { at_us: number; generated: number; prompt: number; cached: number; used: number }
const kSamples = 120;

// What changed from look to look, the last ones.
export function useSamples(state: State | null): Sample[] {
  const samples = useRef<Sample[]>([]);
  const [, setCount] = useState(0);
  useEffect(() => {
    if (!state || samples.current.at(-1)?.at_us === state.now_us) return;
    if ((samples.current.at(-1)?.at_us ?? 0) > state.now_us) samples.current = [];
    samples.current.push({
      at_us: state.now_us, generated: state.work.generated_tokens, prompt: state.work.prompt_tokens,
      cached: state.cache.cached_prompt_tokens, used: state.cache.used,
    });
    if (samples.current.length > kSamples) samples.current.shift();
    setCount((n) => n + 1);
  }, [state]);
  return samples.current;
}

function rates(samples: Sample[], of: (sample: Sample) => number): number[] {
  return samples.slice(1).map((sample, index) => {
    const before = samples[index] as Sample;
    return Math.max(0, (of(sample) - of(before)) / ((sample.at_us - before.at_us) / 1e6));
  });
}

export function Queue({ state, samples }: { state: State | null; samples: Sample[] }) {
  if (!state) return <div class="page"><p class="notice">No data of the server yet.</p></div>;
  const { cache, work } = state;
  const generation = rates(samples, (sample) => sample.generated);
  const prompts = rates(samples, (sample) => sample.prompt);
  const hits = cache.prompt_tokens > 0 ? cache.cached_prompt_tokens / cache.prompt_tokens : null;
  return (
    <div class="page">
      <div class="page-head"><h1>Cache & queue</h1></div>
      <div class="tiles">
        <Tile name="Generation" value={`${short(Math.round(generation.at(-1) ?? 0))} tokens/s`} hint={`${count(work.generated_tokens)} so far`} line={generation} />
        <Tile name="Prompts" value={`${short(Math.round(prompts.at(-1) ?? 0))} tokens/s`} hint={`${count(work.prompt_tokens)} so far`} line={prompts} />
        <Tile name="Cache in use" value={percent(cache.blocks > 0 ? cache.used / cache.blocks : 0, 1)} hint={`${count(cache.used)} of ${plural(cache.blocks, 'block')}`}
              line={samples.map((sample) => sample.used)} most={cache.blocks} />
        <Tile name="Prefix hits" value={hits === null ? '–' : percent(hits, 1)} hint="of prompt tokens, since the start" />
      </div>
      <section class="card" aria-label="Cache">
        <h2>Blocks by owner</h2>
        <Blocks counts={cache} words={`of ${cache.block_size} tokens each, in ${cache.dtype}`} />
        {cache.window && <><h3>Of sliding windows</h3><Blocks counts={cache.window} words="" /></>}
      </section>
      <PrefixTree />
      <section class="card" aria-label="Queue">
        <h2>Requests <span class="count">{count(state.queue.running)} running, {count(state.queue.waiting)} waiting</span></h2>
        <Requests requests={state.queue.requests} now_us={state.now_us} />
        {work.preemptions > 0 && <p class="hint">{plural(work.preemptions, 'time')} a request was sent back to wait because blocks ran out.</p>}
      </section>
    </div>
  );
}

function Tile({ name, value, hint, line, most }: { name: string; value: string; hint: string; line?: number[]; most?: number }) {
  return (
    <div class="tile">
      <div class="tile-name">{name}</div><div class="tile-value">{value}</div><div class="hint">{hint}</div>
      {line && <Sparkline values={line} length={kSamples} {...(most ? { most } : {})} />}
    </div>
  );
}

const kOwners: [keyof BlockCounts, string, string, string][] = [
  ['used', 'in use', 'owner-used', 'by requests that run'],
  ['cached', 'cached', 'owner-cached', 'prefixes that nobody uses now, and that a request may find again'],
  ['free', 'free', 'owner-free', ''],
];
const kCells = 240;

// A field of cells that stand for equally many blocks each.
function Blocks({ counts, words }: { counts: BlockCounts; words: string }) {
  if (counts.blocks === 0) return <p class="notice">There is no cache.</p>;
  const cells = Math.min(kCells, counts.blocks);
  const used = Math.ceil((cells * counts.used) / counts.blocks);
  const cached = Math.min(cells - used, Math.ceil((cells * counts.cached) / counts.blocks));
  const owner = (index: number) => (index < used ? 'owner-used' : index < used + cached ? 'owner-cached' : 'owner-free');
  return (
    <>
      <div class="cells" role="img" aria-label={kOwners.map(([key, name]) => `${count(counts[key])} ${name}`).join(', ')}>
        {Array.from({ length: cells }, (_, index) => <i key={index} class={owner(index)} />)}
      </div>
      <dl class="owners">
        {kOwners.map(([key, name, look, hint]) => (
          <div key={key}><dt><i class={`key ${look}`} />{name}</dt><dd>{count(counts[key])} <span class="hint">{percent(counts[key] / counts.blocks, 1)}</span></dd>
            {hint && <span class="hint">{hint}</span>}</div>
        ))}
      </dl>
      <p class="hint">{plural(counts.blocks, 'block')} {words}</p>
    </>
  );
}

function Requests({ requests, now_us }: { requests: HeldRequest[]; now_us: number }) {
  if (requests.length === 0) return <p class="notice">No request runs or waits.</p>;
  const age = (since_us: number) => (since_us > 0 ? duration((now_us - since_us) / 1e6) : '–');
  return (
    <div class="table-scroll"><table>
      <thead><tr>
        <th scope="col">Request</th><th scope="col">Of</th><th scope="col">State</th><th scope="col" class="num">Age</th>
        <th scope="col" class="num">Waited</th><th scope="col" class="num">First token</th><th scope="col" class="num">Prompt</th>
        <th scope="col" class="num">Cached</th><th scope="col" class="num">Generated</th><th scope="col" class="num">Priority</th>
      </tr></thead>
      <tbody>
        {requests.map((one) => (
          <tr key={one.number}>
            <th scope="row">{one.number}</th>
            <td>{one.mine ? one.principal || 'you' : 'another key'}</td>
            <td><span class={`pill ${one.running ? 'busy' : 'warn'}`}>{one.running ? (one.first_token_us > 0 ? 'generates' : 'reads') : 'waits'}</span></td>
            <td class="num">{age(one.arrived_us)}</td>
            <td class="num">{one.scheduled_us > 0 ? duration((one.scheduled_us - one.arrived_us) / 1e6) : age(one.arrived_us)}</td>
            <td class="num">{one.first_token_us > 0 ? duration((one.first_token_us - one.arrived_us) / 1e6) : '–'}</td>
            <td class="num">{count(one.prompt_tokens)}</td><td class="num">{count(one.cached_tokens)}</td>
            <td class="num">{count(one.generated_tokens)}{one.choices > 1 ? ` (${one.choices}×)` : ''}</td><td class="num">{one.priority}</td>
          </tr>
        ))}
      </tbody>
    </table></div>
  );
}
