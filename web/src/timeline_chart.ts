// Draws the pipeline as a Gantt chart: a lane a worker, time to the right. A micro-batch keeps its
// colour through all stages; the darker foot of a block is its collectives; hatching is a bubble.
import { firstEndingAfter, type TimelineStore } from './timeline_store';
import type { Segment, Step } from './types';

export const kAxis = 26, kLane = 40, kGap = 8, kLoad = 56;

export interface Look {
  batches: string[]; foot: string; idle: string; idleLine: string; send: string; schedule: string;
  grid: string; text: string; ink: string; running: string; waiting: string; ink_on_back: string;
}
export interface Window_us { begin: number; end: number }

export function lookOf(element: Element): Look {
  const style = getComputedStyle(element);
  const of = (name: string) => style.getPropertyValue(name).trim();
  return {
    batches: [0, 1, 2, 3, 4, 5].map((index) => of(`--batch-${index}`)),
    foot: of('--batch-foot'), idle: of('--idle'), idleLine: of('--idle-line'), send: of('--send'),
    schedule: of('--schedule'), grid: of('--grid'), text: of('--muted'), ink: of('--batch-ink'),
    running: of('--accent'), waiting: of('--warn-mark'), ink_on_back: of('--text'),
  };
}

export function chartHeight(numLanes: number): number {
  return kAxis + Math.max(1, numLanes) * (kLane + kGap) + kLoad + 12;
}
export function laneTop(lane: number): number {
  return kAxis + lane * (kLane + kGap);
}

// Which segment lies under a point of the canvas, in CSS pixels.
export function segmentAt(store: TimelineStore, window: Window_us, width: number, x: number, y: number):
    { lane: number; segment: Segment } | null {
  const lane = store.lanes.findIndex((_, index) => y >= laneTop(index) && y < laneTop(index) + kLane);
  const segments = store.lanes[lane]?.segments;
  if (!segments) return null;
  const at = window.begin + (x / width) * (window.end - window.begin);
  const segment = segments[firstEndingAfter(segments, at)];
  return segment && segment[0] <= at ? { lane, segment } : null;
}

export class TimelineChart {
  private context: CanvasRenderingContext2D;
  private width = 0;
  private hatches: { idle: CanvasPattern | string; send: CanvasPattern | string };

  constructor(private canvas: HTMLCanvasElement, private look: Look) {
    this.context = canvas.getContext('2d') as CanvasRenderingContext2D;
    this.hatches = this.makeHatches();
  }

  setLook(look: Look) {
    this.look = look;
    this.hatches = this.makeHatches();
  }

  draw(store: TimelineStore, window: Window_us, highlit: number | null) {
    const ratio = devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.width = width;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.clearRect(0, 0, width, height);
    this.context.font = '11px system-ui, sans-serif';
    this.drawAxis(store, window, height);
    store.lanes.forEach((lane, index) => this.drawLane(store, lane.segments, laneTop(index), window, highlit));
    this.drawLoad(store, window, laneTop(store.lanes.length) + 4);
  }

  private x(at_us: number, window: Window_us): number {
    return ((at_us - window.begin) / (window.end - window.begin)) * this.width;
  }

  private drawAxis(store: TimelineStore, window: Window_us, height: number) {
    const { context } = this;
    const span = window.end - window.begin;
    const least = span / Math.max(2, this.width / 110);
    const step = [1, 2, 5].map((digit) => digit * 10 ** Math.floor(Math.log10(least)))
                     .find((size) => size >= least) ?? 10 * 10 ** Math.floor(Math.log10(least));
    context.fillStyle = this.look.text;
    context.strokeStyle = this.look.grid;
    context.lineWidth = 1;
    context.textBaseline = 'alphabetic';
    const digits = Math.max(0, Math.min(4, -Math.floor(Math.log10(step / 1e6))));
    const first = Math.ceil((window.begin - store.begin_us) / step) * step + store.begin_us;
    for (let at = first; at < window.end; at += step) {
      const x = Math.round(this.x(at, window)) + 0.5;
      context.beginPath();
      context.moveTo(x, kAxis - 6);
      context.lineTo(x, height);
      context.stroke();
      context.fillText(`${((at - store.begin_us) / 1e6).toFixed(digits)} s`, x + 3, kAxis - 10);
    }
  }

  private drawLane(store: TimelineStore, segments: Segment[], top: number, window: Window_us, highlit: number | null) {
    const { context } = this;
    let drawnTo = -1;
    for (let i = firstEndingAfter(segments, window.begin); i < segments.length; ++i) {
      const segment = segments[i] as Segment;
      if (segment[0] >= window.end) break;
      const left = Math.max(0, this.x(segment[0], window));
      const right = Math.min(this.width, this.x(segment[0] + segment[1], window));
      // Many that share a pixel: the first stands for them.
      if (right < drawnTo + 0.5) continue;
      drawnTo = right;
      context.globalAlpha = highlit !== null && segment[3] !== highlit ? 0.35 : 1;
      this.drawSegment(store, segment, left, Math.max(0.5, right - left), top);
    }
    context.globalAlpha = 1;
  }

  private drawSegment(store: TimelineStore, segment: Segment, left: number, width: number, top: number) {
    const { context, look } = this;
    const [, duration, kind, step, collective] = segment;
    if (kind === 'rest') {
      context.fillStyle = look.idle;
      context.fillRect(left, top + kLane / 2 - 1, width, 2);
      return;
    }
    if (kind !== 'work') {
      const isPlanning = kind === 'schedule';
      context.fillStyle = isPlanning ? look.schedule : kind === 'send' ? this.hatches.send : this.hatches.idle;
      context.fillRect(left, top + (isPlanning ? 12 : 4), width, kLane - (isPlanning ? 24 : 8));
      return;
    }
    context.fillStyle = look.batches[((step % 6) + 6) % 6] ?? look.text;
    const inset = width > 4 ? 0.5 : 0;
    context.fillRect(left + inset, top, width - 2 * inset, kLane);
    const foot = duration > 0 ? kLane * Math.min(1, collective / duration) : 0;
    if (foot >= 0.5) {
      context.fillStyle = look.foot;
      context.fillRect(left + inset, top + kLane - foot, width - 2 * inset, foot);
    }
    if (width > 34) this.drawWords(store.steps.get(step), step, left, width, top);
  }

  private drawWords(step: Step | undefined, id: number, left: number, width: number, top: number) {
    const { context } = this;
    const words = step && step[4] ? `${step[2]} tokens of prompt` : step ? `${step[3]} × decode` : `step ${id}`;
    const brief = step ? `${step[4] ? 'P' : 'D'} ${step[4] ? step[2] : step[3]}` : `${id}`;
    const fits = context.measureText(words).width < width - 10 ? words
                 : context.measureText(brief).width < width - 8 ? brief : '';
    context.fillStyle = this.look.ink;
    if (fits) context.fillText(fits, left + 5, top + 17);
  }

  // Sequences that run, and those that wait on top of them.
  private drawLoad(store: TimelineStore, window: Window_us, top: number) {
    const { context, look } = this;
    const seen = store.stepOrder.filter((step) => step[1] < window.end);
    const from = Math.max(0, seen.findIndex((step) => step[1] >= window.begin) - 1);
    const shown = seen.slice(from);
    const most = Math.max(2, ...shown.map((step) => step[7] + step[8]));
    const bottom = top + kLoad - 8;
    shown.forEach((step, index) => {
      // A step tells of the time until the next; idle time has none.
      const until = Math.min(shown[index + 1]?.[1] ?? Infinity, step[1] + 1e6);
      const left = Math.round(this.x(Math.max(step[1], window.begin), window));
      const width = Math.round(this.x(Math.min(until, window.end), window)) - left;
      if (width <= 0) return;
      const running = ((kLoad - 12) * step[7]) / most, waiting = ((kLoad - 12) * step[8]) / most;
      context.fillStyle = look.running;
      context.globalAlpha = 0.45;
      context.fillRect(left, bottom - running, width, running);
      context.fillStyle = look.waiting;
      context.globalAlpha = 0.7;
      context.fillRect(left, bottom - running - waiting, width, waiting);
    });
    context.globalAlpha = 1;
    const last = shown.at(-1);
    if (last) {
      context.fillStyle = look.ink_on_back;
      context.fillText(last[8] > 0 ? `${last[7]} run, ${last[8]} wait` : `${last[7]} run`, 5, bottom - 6);
    }
    context.strokeStyle = look.grid;
    context.beginPath();
    context.moveTo(0, bottom + 0.5);
    context.lineTo(this.width, bottom + 0.5);
    context.stroke();
  }

  private makeHatches() {
    return {
      idle: this.hatch(this.look.idle, this.look.idleLine, false),
      send: this.hatch(this.look.idle, this.look.send, true),
    };
  }
  private hatch(back: string, line: string, mirrored: boolean): CanvasPattern | string {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    const context = tile.getContext('2d');
    if (!context) return back;
    context.fillStyle = back;
    context.fillRect(0, 0, 8, 8);
    context.strokeStyle = line;
    context.lineWidth = 1.4;
    context.beginPath();
    for (const from of [-8, 0, 8]) {
      context.moveTo(from, mirrored ? 0 : 8);
      context.lineTo(from + 8, mirrored ? 8 : 0);
    }
    context.stroke();
    return this.context.createPattern(tile, 'repeat') ?? back;
  }
}
