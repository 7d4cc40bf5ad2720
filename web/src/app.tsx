// The frame: what the server is and how it is, and the four views.
import { useEffect, useState } from 'preact/hooks';
import { getJson, type Trouble } from './api';
import { duration, percent } from './format';
import { KeyDialog } from './key_dialog';
import { Machine } from './machine';
import { Playground } from './playground';
import { usePoll } from './poll';
import { Queue, useSamples } from './queue';
import { TimelineView } from './timeline';
import type { State } from './types';

const kViews = [
  { name: 'playground', title: 'Playground' },
  { name: 'timeline', title: 'Timeline' },
  { name: 'machine', title: 'Machine' },
  { name: 'queue', title: 'Cache & queue' },
] as const;
type View = (typeof kViews)[number]['name'];

function viewOfHash(): View {
  return kViews.find(({ name }) => `#${name}` === location.hash)?.name ?? 'playground';
}

export function App() {
  const [view, setView] = useState<View>(viewOfHash);
  const [keyAsked, setKeyAsked] = useState(false);
  const state = usePoll<State>(() => '/weft/state', 1000);
  const model = useModelName(state.value);
  const samples = useSamples(state.value);
  useEffect(() => {
    const follow = () => setView(viewOfHash());
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  const lacksKey = state.trouble?.kind === 'key';
  useEffect(() => { if (lacksKey) setKeyAsked(true); }, [lacksKey]);
  // Once more for each key that was tried and refused, but not for a dialog that was closed.
  const [keyTried, setKeyTried] = useState(false);
  useEffect(() => {
    if (!keyTried || !state.trouble) return;
    if (state.trouble.kind === 'key' && !state.trouble.wrong) return;
    setKeyTried(false);
    setKeyAsked(state.trouble.kind === 'key');
  }, [keyTried, state.trouble]);

  const stopped = state.value !== null && !state.value.engine.alive;
  return (
    <div class="frame">
      <a class="skip" href="#view">Skip to content</a>
      <header class="top">
        <div class="brand"><Mark /><span>Weft</span></div>
        <nav aria-label="Views">
          {kViews.map(({ name, title }) => (
            <a key={name} href={`#${name}`} aria-current={view === name ? 'page' : undefined}>{title}</a>
          ))}
        </nav>
        <Health state={state.value} trouble={state.trouble} onKey={() => setKeyAsked(true)} />
      </header>
      <Banner state={state.value} trouble={state.trouble} retry={state.retry} onKey={() => setKeyAsked(true)} />
      <main id="view" class={`view ${view}`} tabIndex={-1}>
        <div hidden={view !== 'playground'} class="keep"><Playground model={model} stopped={stopped} /></div>
        {view === 'timeline' && <TimelineView state={state.value} />}
        {view === 'machine' && <Machine state={state.value} />}
        {view === 'queue' && <Queue state={state.value} samples={samples} />}
      </main>
      {keyAsked && (
        <KeyDialog wrong={state.trouble?.kind === 'key' && state.trouble.wrong}
                   onDone={(saved) => { setKeyAsked(false); setKeyTried(saved); state.retry(); }} />
      )}
    </div>
  );
}

// As requests must call it; the engine's own name until the list of models has come. Asked for again
// once another engine answers at this address.
function useModelName(state: State | null): string | null {
  const [served, setServed] = useState<string | null>(null);
  const engine = state && `${state.model.fingerprint} ${state.model.name} ${state.engine.started_us}`;
  useEffect(() => {
    setServed(null);
    if (engine === null) return;
    const abort = new AbortController();
    getJson<{ data: { id: string }[] }>('/v1/models', abort.signal).then(
        (list) => setServed(list.data[0]?.id ?? null), () => undefined);
    return () => abort.abort();
  }, [engine]);
  return served ?? state?.model.name ?? null;
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M4 11h6m6 0h12M4 21h13m6 0h5M12 4v13m0 6v5M21 4v6m0 6v12" />
    </svg>
  );
}

interface HealthProps { state: State | null; trouble: Trouble | null; onKey: () => void }

function Health({ state, trouble, onKey }: HealthProps) {
  const [kind, words] = healthOf(state, trouble);
  return (
    <div class="health">
      {state && <span class="model-name" title={`fingerprint ${state.model.fingerprint}`}>{state.model.name}</span>}
      <span class={`pill ${kind}`}>{words}</span>
      <span class="hidden" role="status">{kSaid[kind] ?? ''}</span>
      <button type="button" class="quiet icon" aria-label="API key" title="API key" onClick={onKey}>
        <svg viewBox="0 0 20 20" aria-hidden="true"><path d="M12.5 11.5a4 4 0 1 0-3.7-2.6L3 14.7V17h2.4v-1.8h1.9v-1.9h1.9l1.2-1.2a4 4 0 0 0 2.1-.6zM13.4 6.7h.01" /></svg>
      </button>
    </div>
  );
}

// Spoken once by screen readers: what comes and goes with each request is not, nor what a banner says.
const kSaid: Record<string, string> = { good: 'The server answers.', busy: 'The server answers.' };

function healthOf(state: State | null, trouble: Trouble | null): [string, string] {
  if (trouble?.kind === 'key') return ['bad', 'Key needed'];
  if (trouble) return ['bad', trouble.kind === 'unreachable' ? 'Unreachable' : 'Error'];
  if (!state) return ['idle', 'Connecting'];
  if (!state.engine.alive) return ['bad', 'Stopped'];
  if (state.engine.paused) return ['warn', 'Paused'];
  const { running, waiting } = state.queue;
  if (waiting > 0) return ['busy', `${running} running, ${waiting} waiting`];
  return running > 0 ? ['busy', `${running} running`] : ['good', 'Ready'];
}

interface BannerProps extends HealthProps { retry: () => void }

function Banner({ state, trouble, retry, onKey }: BannerProps) {
  if (trouble?.kind === 'key')
    return <p class="banner error" role="alert">{trouble.wrong ? 'The server refused this API key.' : 'This server asks for an API key.'}
      <button type="button" onClick={onKey}>Enter a key</button></p>;
  if (trouble) {
    const words = trouble.kind === 'unreachable'
                      ? `The server does not answer${state ? '; what is shown is from before' : ''}. Trying again.`
                      : trouble.kind === 'answer' ? trouble.message : '';
    return <p class="banner error" role="alert">{words}<button type="button" onClick={retry}>Try now</button></p>;
  }
  if (!state) return null;
  const { alive, failure, paused, in_step_since_us } = state.engine;
  if (!alive) {
    const parts = failure ? [failure.what, failure.why].filter(Boolean).join(': ') : 'a rank was lost';
    return <p class="banner error" role="alert">The engine stopped: {parts}. {failure?.mend}</p>;
  }
  if (paused) return <p class="banner warn" role="status">The engine is paused: requests wait, and nothing is lost.</p>;
  const stuck_s = in_step_since_us > 0 ? (state.now_us - in_step_since_us) / 1e6 : 0;
  // What is counted anew with each look is not spoken.
  if (stuck_s > 10)
    return <p class="banner warn"><span role="status">One step takes very long:</span> {duration(stuck_s)} by now.</p>;
  const used = state.cache.blocks > 0 ? state.cache.used / state.cache.blocks : 0;
  if (state.queue.waiting > 0 && used > 0.95)
    return <p class="banner warn"><span role="status">Requests wait for room in the cache:</span> {state.queue.waiting}, with {percent(used)} of it in use.</p>;
  return null;
}
