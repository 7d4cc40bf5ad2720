// An answer whose tokens are coloured by how sure the model was, with what it might have said
// instead. One stop of the Tab key; arrow keys go from token to token.
import { useId, useRef, useState } from 'preact/hooks';
import type { Token } from './chat';
import { percent } from './format';

// Upper bounds of the classes p1 (sure) … p5 (a guess); style.css has their colours.
const kClasses: [number, string][] = [[0.9, 'p1'], [0.5, 'p2'], [0.2, 'p3'], [0.05, 'p4'], [0, 'p5']];

export function probabilityClass(logprob: number): string {
  const p = Math.exp(logprob);
  return kClasses.find(([least]) => p >= least)?.[1] ?? 'p5';
}

// White space and controls made visible.
export function visible(text: string): string {
  return text.replaceAll('\n', '↵').replaceAll('\t', '⇥').replaceAll(' ', '␣') || '∅';
}

interface Place { index: number; left: number; top: number }

export function Tokens({ tokens }: { tokens: Token[] }) {
  const [place, setPlace] = useState<Place | null>(null);
  const [current, setCurrent] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const tip = useId();
  // An answer loses tokens at its end, where a stop string is cut out.
  const stop = Math.min(current, tokens.length - 1);

  const show = (target: EventTarget | null) => {
    const element = target instanceof HTMLElement ? target : null;
    const index = Number(element?.dataset['index'] ?? NaN);
    if (!element || !box.current || !tokens[index]) return setPlace(null);
    const room = box.current.clientWidth - 232;
    setPlace({
      index,
      left: Math.max(0, Math.min(element.offsetLeft, room)),
      top: element.offsetTop + element.offsetHeight + 4,
    });
    setCurrent(index);
  };
  const move = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === 'Escape') return setPlace(null);
    const index = event.key === 'Home' ? 0 : event.key === 'End' ? tokens.length - 1
                                           : by === undefined ? null : stop + by;
    if (index === null || !tokens[index]) return;
    event.preventDefault();
    (box.current?.querySelector(`[data-index="${index}"]`) as HTMLElement | null)?.focus();
  };

  const shown = place && tokens[place.index];
  return (
    <div class="tokens" ref={box}
         onPointerOver={(event) => show(event.target)} onPointerLeave={() => setPlace(null)}
         onFocusIn={(event) => show(event.target)} onFocusOut={() => setPlace(null)}
         onKeyDown={move}>
      <div role="listbox" aria-label="Tokens of the answer; arrow keys move" aria-orientation="horizontal">
        {tokens.map((token, index) => (
          <span key={index} data-index={index} role="option" tabIndex={index === stop ? 0 : -1}
                class={`token ${probabilityClass(token.logprob)}`} aria-selected={index === stop}
                aria-label={`${token.text}, ${percent(Math.exp(token.logprob), 1)}`}
                aria-describedby={shown && index === place.index ? tip : undefined}>{token.text}</span>
        ))}
      </div>
      {shown && <Alternatives id={tip} token={shown} left={place.left} top={place.top} />}
    </div>
  );
}

interface AlternativesProps { id: string; token: Token; left: number; top: number }

function Alternatives({ id, token, left, top }: AlternativesProps) {
  return (
    <div class="alternatives" id={id} role="tooltip" style={{ left: `${left}px`, top: `${top}px` }}>
      <div class="alternatives-head">
        <code>{visible(token.text)}</code><b>{percent(Math.exp(token.logprob), 1)}</b>
      </div>
      {token.choices.map((choice, index) => {
        const p = Math.exp(choice.logprob);
        return (
          <div class="alternative" key={index} data-chosen={choice.logprob === token.logprob}>
            <code>{visible(choice.text)}</code>
            <span class="meter"><span style={{ width: `${Math.max(1, 100 * p)}%` }} /></span>
            <span class="num">{percent(p, 1)}</span>
          </div>
        );
      })}
    </div>
  );
}

export function TokenLegend() {
  return (
    <span class="legend" role="group" aria-label="Colours of tokens by probability">
      <span class="legend-title">Probability of a token</span>
      {[['p1', '≥ 90 %'], ['p2', '≥ 50 %'], ['p3', '≥ 20 %'], ['p4', '≥ 5 %'], ['p5', '< 5 %']].map(
          ([name, words]) => <span key={name} class={`token ${name}`}>{words}</span>)}
    </span>
  );
}
