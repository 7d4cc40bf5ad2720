// Where each part of the prefix tree stands in its picture: the root at the top, below each run what
// goes on from it, as wide as the blocks in and under it. What a run has to itself stays free below.
import type { PrefixCache, PrefixRun, PrefixSum } from './types';

export interface Cell {
  key: string;  // the same one in the next picture
  kind: 'root' | 'run' | 'more' | 'unseen';
  run: PrefixRun | null;   // of a run
  sum: PrefixSum | null;   // of `more`: runs that are not told one by one
  parent: Cell | null;
  children: Cell[];
  level: number;
  begin: number; end: number;  // in blocks
}

function cellOf(key: string, kind: Cell['kind'], parent: Cell | null): Cell {
  return { key, kind, run: null, sum: null, parent, children: [], level: parent ? parent.level + 1 : 0, begin: 0, end: 0 };
}

// The root, and all under it in the order of a reader: parents first, then from left to right.
export function layOut(cache: PrefixCache): Cell[] {
  const root = cellOf('root', 'root', null);
  const cells: Cell[] = [];
  for (const run of cache.runs) {
    const parent = run.parent < 0 ? root : cells[run.parent] ?? root;
    const cell = cellOf(`run-${run.block}`, 'run', parent);
    cell.run = run;
    parent.children.push(cell);
    cells.push(cell);
  }
  // In the order of their first blocks, which stays as it is while they grow.
  for (const cell of [root, ...cells]) {
    cell.children.sort((a, b) => (a.run?.block ?? 0) - (b.run?.block ?? 0));
    const sum = cell.run ? cell.run.more : cache.more;
    if (sum.blocks > 0) cell.children.push({ ...cellOf(`more-${cell.key}`, 'more', cell), sum });
  }
  if (cache.not_seen > 0)
    root.children.push({ ...cellOf('unseen', 'unseen', root), sum: { runs: 0, blocks: cache.not_seen, tokens: 0, used: 0 } });
  const ordered: Cell[] = [];
  place(root, 0, ordered);
  return ordered;
}

// Returns where it ends.
function place(cell: Cell, begin: number, ordered: Cell[]): number {
  ordered.push(cell);
  cell.begin = begin;
  let end = begin;
  for (const child of cell.children) end = place(child, end, ordered);
  cell.end = end + (cell.run ? cell.run.blocks : cell.sum?.blocks ?? 0);
  return cell.end;
}

export function isUnder(cell: Cell, other: Cell): boolean {
  for (let at: Cell | null = cell; at; at = at.parent) if (at === other) return true;
  return false;
}

// What is seen with `focus` as wide as the picture: what it goes on from, itself, and all under it.
export function visible(cells: Cell[], focus: Cell): Cell[] {
  return cells.filter((cell) => isUnder(cell, focus) || isUnder(focus, cell));
}

// The neighbour that an arrow key leads to; null: there is none.
export function neighbour(shown: Cell[], cell: Cell, key: string): Cell | null {
  const level = shown.filter((one) => one.level === cell.level);
  const at = level.indexOf(cell);
  switch (key) {
    case 'ArrowUp': return cell.parent;
    case 'ArrowDown': return shown.find((one) => one.parent === cell) ?? null;
    case 'ArrowLeft': return level[at - 1] ?? null;
    case 'ArrowRight': return level[at + 1] ?? null;
    case 'Home': return shown[0] ?? null;
    default: return null;
  }
}
