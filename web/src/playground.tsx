// A chat with the model: streaming, with what each answer took under it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { apiKey } from './api';
import { firstTokenSeconds, kDefaults, message, requestBody, schemaProblem, streamAnswer,
         tokensOfText, tokensPerSecond, type Message, type Parameters } from './chat';
import { CodeDialog } from './code_dialog';
import { count, duration, plural } from './format';
import { ParameterPanel } from './parameters';
import { TokenLegend, Tokens } from './tokens';

const kExamples = [
  'Explain pipeline parallelism to a cook.',
  'Write a haiku about two processors that share one memory.',
  'Name three rivers and the cities they flow through.',
];

// model: null while it is not known.
export function Playground({ model, stopped }: { model: string | null; stopped: boolean }) {
  const [parameters, setParameters] = useState<Parameters>(kDefaults);
  const [messages, setMessages] = useState<Message[]>([]);
  const [draft, setDraft] = useState('');
  const [code, setCode] = useState(false);
  const [panel, setPanel] = useState(() => window.matchMedia('(min-width: 900px)').matches);
  const abort = useRef<AbortController | null>(null);
  const log = useRef<HTMLDivElement>(null);
  const follow = useRef(true);
  const input = useRef<HTMLTextAreaElement>(null);
  const busy = messages.at(-1)?.state === 'streaming';

  useEffect(() => () => abort.current?.abort(), []);
  useEffect(() => {
    if (follow.current && log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [messages]);

  // Whatever asks, or shows what would be asked.
  const canAsk = model !== null && !stopped && !busy && schemaProblem(parameters) === null;

  const answer = async (history: Message[]) => {
    if (!model || !canAsk) return;
    const body = requestBody(model, history, parameters);
    const reply = message('assistant');
    let drawn = 0;
    const draw = () => {
      drawn = 0;
      setMessages([...history, { ...reply }]);
    };
    follow.current = true;
    draw();
    abort.current = new AbortController();
    // At most once a frame, however fast tokens come.
    await streamAnswer(body, reply, abort.current.signal, () => { drawn ||= requestAnimationFrame(draw); });
    cancelAnimationFrame(drawn);
    draw();
  };
  const send = (text: string) => {
    if (!text.trim() || !canAsk) return;
    setDraft('');
    answer([...messages, message('user', text)]);
  };
  const retry = () => {
    const last = messages.findLastIndex((one) => one.role === 'user');
    if (last >= 0) answer(messages.slice(0, last + 1));
  };
  const stop = () => {
    abort.current?.abort();
    input.current?.focus();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send(draft);
    }
    if (event.key === 'Escape' && busy) stop();
  };
  const pending = draft.trim() ? [...messages, message('user', draft)] : messages;

  return (
    <div class={`playground ${panel ? 'with-panel' : ''}`}>
      <section class="chat" aria-label="Chat">
        <div class="chat-log" ref={log} tabIndex={0} role="log" aria-label="Conversation"
             onScroll={(event) => {
               const box = event.currentTarget;
               follow.current = box.scrollHeight - box.scrollTop - box.clientHeight < 48;
             }}>
          {messages.length === 0 && (
            <div class="empty">
              <h2>Ask the model something</h2>
              <p>Hover over a word of an answer, or move with the arrow keys, to see what else it might have been.</p>
              <div class="examples">
                {kExamples.map((text) => (
                  <button type="button" key={text} class="quiet" disabled={!canAsk} onClick={() => send(text)}>{text}</button>
                ))}
              </div>
            </div>
          )}
          {messages.map((one) => <Turn key={one.id} message={one} />)}
        </div>
        <form class="composer" onSubmit={(event) => { event.preventDefault(); send(draft); }}>
          <textarea ref={input} rows={2} value={draft} aria-label="Your message" onKeyDown={onKey}
                    placeholder={model ? 'Message: Enter sends, Shift+Enter starts a line' : 'Waiting for the server…'}
                    onInput={(event) => setDraft(event.currentTarget.value)} />
          <div class="composer-row">
            <button type="button" class="quiet" aria-expanded={panel} onClick={() => setPanel(!panel)}>Parameters</button>
            <button type="button" class="quiet" disabled={!canAsk || pending.length === 0}
                    title="The request as curl or Python" onClick={() => setCode(true)}>Code</button>
            <button type="button" class="quiet" disabled={!canAsk || messages.length === 0} onClick={retry}>Retry</button>
            <button type="button" class="quiet" disabled={busy || messages.length === 0}
                    onClick={() => setMessages([])}>New chat</button>
            {busy ? <button type="button" class="primary stop" onClick={stop}>Stop</button>
                  : <button type="submit" class="primary" disabled={!draft.trim() || !canAsk}>Send</button>}
          </div>
        </form>
      </section>
      {panel && (
        <aside class="panel" aria-label="Parameters">
          <ParameterPanel value={parameters} onChange={setParameters} />
          {parameters.logprobs && <TokenLegend />}
        </aside>
      )}
      {code && model && schemaProblem(parameters) === null && (
        <CodeDialog body={requestBody(model, pending, parameters)} needsKey={apiKey() !== ''}
                    onClose={() => setCode(false)} />
      )}
    </div>
  );
}

function Turn({ message: one }: { message: Message }) {
  if (one.role === 'user') return <article class="turn user" aria-label="You"><div class="bubble">{one.text}</div></article>;
  const waiting = one.state === 'streaming' && one.first_ms === 0;
  const tokens = tokensOfText(one);
  return (
    <article class="turn assistant" aria-label="Answer" aria-busy={one.state === 'streaming'}>
      {one.reasoning && <details class="reasoning"><summary>Reasoning</summary><div>{one.reasoning}</div></details>}
      {waiting && <div class="waiting">Reading the prompt…</div>}
      {tokens.length > 0 ? <Tokens tokens={tokens} /> : <div class="answer-text">{one.text}</div>}
      {one.error && <p class="notice error" role="alert">{one.error}</p>}
      <Figures message={one} />
    </article>
  );
}

const kEnds: Record<string, string> = {
  length: 'cut at max tokens', tool_calls: 'asks for a tool', content_filter: 'filtered',
};

function Figures({ message: one }: { message: Message }) {
  const first_s = firstTokenSeconds(one);
  const speed = tokensPerSecond(one);
  const mean = one.tokens.length > 0
                   ? Math.exp(one.tokens.reduce((sum, token) => sum + token.logprob, 0) / one.tokens.length) : null;
  const facts: [string, string][] = [];
  if (first_s !== null) facts.push(['first token', duration(first_s)]);
  if (speed !== null) facts.push(['speed', `${speed.toFixed(1)} tokens/s`]);
  if (one.completion_tokens > 0) facts.push(['answer', plural(one.completion_tokens, 'token')]);
  if (one.prompt_tokens > 0)
    facts.push(['prompt', `${count(one.prompt_tokens)}${one.cached_tokens > 0 ? ` (${count(one.cached_tokens)} cached)` : ''}`]);
  if (mean !== null && one.state !== 'streaming') facts.push(['mean probability', `${(100 * mean).toFixed(0)} %`]);
  if (one.state === 'stopped') facts.push(['ended', 'by you']);
  else if (one.finish && kEnds[one.finish]) facts.push(['ended', kEnds[one.finish] ?? '']);
  if (facts.length === 0) return null;
  return (
    <dl class="figures">
      {facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}
