// The radix tree of cached prefixes as it is now: what sequences share, what waits to be found
// again, and for how long. Numbers alone: no token comes here.
import { useState } from 'preact/hooks';
import { messageOf } from './api';
import { count, duration, percent, plural } from './format';
import { usePoll } from './poll';
import { layOut, neighbour, visible, type Cell } from './prefix_layout';
import type { PrefixCache, PrefixSum } from './types';

const kRow = 26;  // pixels
const kNarrowest = 0.0015;  // of the width; what is narrower is in the table, and seen enlarged

type Look = 'root' | 'used' | 'new' | 'cached' | 'more';

function lookOf({ kind, run }: Cell): Look {
  if (kind === 'root') return 'root';
  if (!run) return 'more';
  if (run.new) return 'new';
  return run.sequences > 0 ? 'used' : 'cached';
}

function titleOf(cell: Cell): string {
  const { kind, run, sum } = cell;
  if (kind === 'root') return 'All cached prefixes';
  if (kind === 'unseen') return 'Not looked at';
  if (!run) return `${plural(sum?.runs ?? 0, 'smaller part')}`;
  if (run.sequences === 0) return 'Cached';
  return `${run.new ? 'Just written, held' : 'Held'} by ${plural(run.sequences, 'sequence')}`;
}

function figuresOf(cell: Cell, cache: PrefixCache): [string, string][] {
  const { kind, run, sum } = cell;
  if (kind === 'root') return [['blocks', count(cache.published)], ['tokens each', count(cache.block_size)]];
  if (kind === 'unseen') return [['blocks', count(cell.end - cell.begin)]];
  if (!run) return [['blocks', count(sum?.blocks ?? 0)], ['tokens', count(sum?.tokens ?? 0)], ['in use', count(sum?.used ?? 0)]];
  const rows: [string, string][] = [['blocks', count(run.blocks)], ['tokens', count(run.tokens)]];
  if (cell.children.length > 0) rows.push(['with all below', plural(cell.end - cell.begin, 'block')]);
  if (run.idle_since_us > 0) rows.push(['unused for', age(run.idle_since_us, cache)]);
  rows.push(['of', run.mine ? 'you' : 'another key']);
  return rows;
}

function age(since_us: number, cache: PrefixCache): string {
  return duration(Math.max(0, cache.made_us - since_us) / 1e6);
}

export function PrefixTree() {
  const { value: cache, trouble } = usePoll<PrefixCache>(() => '/weft/cache', 1000);
  return (
    <section class="card" aria-label="Prefix tree">
      <h2>Prefix tree {cache && <span class="count">{plural(cache.published, 'block')}</span>}</h2>
      {cache ? <Picture cache={cache} /> : <p class="notice">{trouble ? messageOf(trouble) : 'No data of the cache yet.'}</p>}
    </section>
  );
}

function Picture({ cache }: { cache: PrefixCache }) {
  const [tableIsOpen, setTableOpen] = useState(false);
  if (!cache.enabled) return <p class="notice">Prefixes are not cached (--no-prefix-caching).</p>;
  if (cache.published === 0) return <p class="notice">Nothing is cached yet. Whoever asks leaves the blocks of the prompt and the answer here.</p>;
  const cells = layOut(cache);
  const isShared = cache.owners.others.blocks + cache.owners.unknown.blocks > 0;
  return (
    <>
      <p class="hint">Each part is a run of tokens that prompts and answers have in common; below it stands what goes on from it. It is
        as wide as the blocks in and below it. A request of the same key that begins the same way takes them over.</p>
      <Icicle cells={cells} cache={cache} />
      <div class="chart-legend">
        <span><i class="key run-used" />held by sequences</span>
        <span><i class="key run-new" />just written</span>
        <span><i class="key run-cached" />cached, unused</span>
        <span><i class="key run-more" />smaller parts together</span>
        {isShared && <span><i class="key run-cached run-theirs" />of another key</span>}
        <span class="grow" />
        <span class="hint wide-only">Click or Enter to enlarge, Escape for all</span>
      </div>
      {isShared && <Owners cache={cache} />}
      {cache.unpublished > 0 && <p class="hint">{plural(cache.unpublished, 'block')} of running sequences {cache.unpublished === 1 ? 'is' : 'are'} not in the tree: not full yet.</p>}
      <details onToggle={(event) => setTableOpen(event.currentTarget.open)}>
        <summary>As a table</summary>
        {tableIsOpen && <RunTable cells={cells} cache={cache} />}
      </details>
    </>
  );
}

function Icicle({ cells, cache }: { cells: Cell[]; cache: PrefixCache }) {
  const [focusKey, setFocusKey] = useState('root');  // as wide as the picture
  const [atKey, setAtKey] = useState('root');        // where the keyboard is
  const [tipKey, setTipKey] = useState<string | null>(null);
  const root = cells[0] as Cell;
  const find = (key: string | null) => cells.find((cell) => cell.key === key);
  const focus = find(focusKey) ?? root;
  const width = focus.end - focus.begin;
  const shown = visible(cells, focus).filter((cell) => cell.end - cell.begin >= kNarrowest * width);
  const at = shown.find((cell) => cell.key === atKey) ?? focus;
  const tip = shown.find((cell) => cell.key === tipKey);
  const left = (cell: Cell) => Math.max(0, (cell.begin - focus.begin) / width);
  const right = (cell: Cell) => Math.min(1, (cell.end - focus.begin) / width);

  // Enlarged already, it becomes as it was.
  const enlarge = (cell: Cell) => setFocusKey(cell === focus ? cell.parent?.key ?? 'root' : cell.key);
  const onKey = (event: KeyboardEvent) => {
    const next = neighbour(shown, at, event.key);
    if (next) {
      setAtKey(next.key);
      (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`[data-key="${next.key}"]`)?.focus();
    } else if (event.key === 'Enter' || event.key === ' ') {
      enlarge(at);
    } else if (event.key === 'Escape') {
      setTipKey(null);
      setFocusKey('root');
    } else if (!event.key.startsWith('Arrow')) {
      return;
    }
    event.preventDefault();
  };
  const numLevels = 1 + Math.max(...shown.map((cell) => cell.level));
  return (
    <div class="icicle-frame">
      <div class="icicle" role="tree" aria-label={`Prefix tree of ${plural(cache.published, 'block')}`}
           style={{ height: `${numLevels * kRow}px` }} onKeyDown={onKey} onPointerLeave={() => setTipKey(null)}>
        {shown.map((cell) => (
          <div key={cell.key} data-key={cell.key} role="treeitem" tabIndex={cell === at ? 0 : -1}
               class={`run run-${lookOf(cell)}${cell.run && !cell.run.mine ? ' run-theirs' : ''}`}
               aria-level={cell.level + 1} aria-selected={cell === focus}
               aria-label={[titleOf(cell), ...figuresOf(cell, cache).map((row) => row.join(' '))].join(', ')}
               style={{ left: `${100 * left(cell)}%`, width: `${100 * (right(cell) - left(cell))}%`, top: `${cell.level * kRow}px` }}
               onClick={() => { setAtKey(cell.key); enlarge(cell); }}
               onPointerEnter={() => setTipKey(cell.key)}
               onFocus={() => { setAtKey(cell.key); setTipKey(cell.key); }} onBlur={() => setTipKey(null)}>
            <span>{wordsIn(cell, cache)}</span>
          </div>
        ))}
      </div>
      {tip && (
        <div class="tip in-icicle" role="tooltip" style={{ '--left': `${left(tip)}`, '--right': `${right(tip)}`, '--y': `${tip.level * kRow}px` }}>
          <b>{titleOf(tip)}</b>
          <dl>{figuresOf(tip, cache).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
        </div>
      )}
    </div>
  );
}

function wordsIn({ kind, run, sum }: Cell, cache: PrefixCache): string {
  if (kind === 'root') return `${plural(cache.published, 'block')} of ${cache.block_size} tokens`;
  if (!run) return kind === 'unseen' ? 'not looked at' : plural(sum?.runs ?? 0, 'part');
  return run.sequences > 0 ? `${count(run.tokens)} tokens, ${run.sequences}×` : `${count(run.tokens)} tokens`;
}

function Owners({ cache }: { cache: PrefixCache }) {
  const { principal, mine, others, unknown } = cache.owners;
  const rows: [string, PrefixSum][] = [[`yours (${principal})`, mine], ['other keys’', others]];
  if (unknown.blocks > 0) rows.push(['not known whose', unknown]);
  return (
    <>
      <h3>Cached blocks by key</h3>
      <dl class="owners">
        {rows.map(([name, sum]) => (
          <div key={name}><dt>{name}</dt>
            <dd>{count(sum.blocks)} <span class="hint">{percent(sum.blocks / cache.published, 1)}, {count(sum.used)} in use</span></dd></div>
        ))}
      </dl>
    </>
  );
}

function RunTable({ cells, cache }: { cells: Cell[]; cache: PrefixCache }) {
  return (
    <div class="table-scroll"><table class="run-table">
      <thead><tr>
        <th scope="col">Level</th><th scope="col">Part</th><th scope="col" class="num">Blocks</th><th scope="col" class="num">With all below</th>
        <th scope="col" class="num">Tokens</th><th scope="col" class="num">Sequences</th><th scope="col" class="num">Unused for</th><th scope="col">Of</th>
      </tr></thead>
      <tbody>
        {cells.slice(1).map((cell) => (
          <tr key={cell.key}>
            <td>{cell.level}</td><th scope="row">{titleOf(cell)}</th>
            <td class="num">{count(cell.run?.blocks ?? cell.sum?.blocks ?? 0)}</td><td class="num">{count(cell.end - cell.begin)}</td>
            <td class="num">{cell.kind === 'unseen' ? '–' : count(cell.run?.tokens ?? cell.sum?.tokens ?? 0)}</td>
            <td class="num">{cell.run ? count(cell.run.sequences) : '–'}</td>
            <td class="num">{cell.run && cell.run.idle_since_us > 0 ? age(cell.run.idle_since_us, cache) : '–'}</td>
            <td>{cell.run ? (cell.run.mine ? 'you' : 'another key') : '–'}</td>
          </tr>
        ))}
      </tbody>
    </table></div>
  );
}
