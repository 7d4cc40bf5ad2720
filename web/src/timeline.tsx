// The live pipeline: what every rank does, and how much of it is bubble.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { count, duration, percent, plural, span } from './format';
import { usePoll } from './poll';
import { chartHeight, kAxis, kGap, kLane, lookOf, segmentAt, TimelineChart, type Window_us } from './timeline_chart';
import { TimelineStore, type Lane } from './timeline_store';
import type { Segment, State, Step, Timeline } from './types';

const kLag_us = 700e3;  // behind the server, so that what is drawn has come
const kShortest_us = 5e3, kLongest_us = 30e6;
// What is shorter would rush past: live, it is a picture a second.
const kScrolls_us = 4e6, kPicture_us = 1e6;

interface Hover { lane: number; segment: Segment; x: number; y: number }

export function TimelineView({ state }: { state: State | null }) {
  const store = useRef(new TimelineStore());
  const [live, setLive] = useState(true);
  const [span_us, setSpan] = useState(() => (matchMedia('(max-width: 640px)').matches ? 200e3 : 500e3));
  const [end_us, setEnd] = useState(0);  // where it is not live
  const [hover, setHover] = useState<Hover | null>(null);
  const [, setCount] = useState(0);
  const { trouble } = usePoll<Timeline>(
      live ? () => `/weft/timeline?since_us=${store.current.since_us()}&window_s=10` : null, 300,
      (timeline) => { store.current.add(timeline); setCount((n) => n + 1); });
  const windowNow = useCallback((): Window_us => {
    const now = store.current.now_us() - kLag_us;
    const end = !live ? end_us : span_us < kScrolls_us ? Math.floor(now / kPicture_us) * kPicture_us : now;
    return { begin: end - span_us, end };
  }, [live, span_us, end_us]);

  const pause = (at?: number) => { setEnd(at ?? windowNow().end); setLive(false); };
  const pan = (by_us: number) => pause(windowNow().end + by_us);
  // Around a point of the window, 0 … 1; live, its right edge stays now.
  const zoom = (factor: number, around = live ? 1 : 0.5) => {
    const to = Math.min(kLongest_us, Math.max(kShortest_us, span_us * factor));
    if (!live) setEnd(end_us + (1 - around) * (to - span_us));
    setSpan(to);
  };
  const onKey = (event: KeyboardEvent) => {
    const act = {
      ArrowLeft: () => pan(-span_us / 5), ArrowRight: () => pan(span_us / 5), '+': () => zoom(0.5),
      '=': () => zoom(0.5), '-': () => zoom(2), ' ': () => (live ? pause() : setLive(true)),
      End: () => setLive(true), Escape: () => setHover(null),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };

  const { lanes, summary } = store.current;
  const loaded = lanes.length > 0;
  return (
    <div class="page">
      <div class="page-head">
        <h1>Timeline</h1>
        <span class="grow" />
        <div class="segmented" role="group" aria-label="Zoom">
          <button type="button" aria-label="Zoom out" onClick={() => zoom(2)}>−</button>
          <output aria-live="polite">{duration(span_us / 1e6)}</output>
          <button type="button" aria-label="Zoom in" onClick={() => zoom(0.5)}>+</button>
        </div>
        <button type="button" class={live ? 'quiet' : 'primary'} aria-pressed={!live}
                onClick={() => (live ? pause() : setLive(true))}>{live ? 'Pause' : 'Go live'}</button>
      </div>
      <Headline store={store.current} state={state} />
      {trouble && !loaded && <p class="notice">No timeline yet.</p>}
      <div class="card chart-card" hidden={!loaded}>
        <div class="chart">
          <LaneLabels lanes={lanes} pooled={store.current.pooled} />
          <Chart store={store.current} windowNow={windowNow} live={live} hover={hover} onHover={setHover}
                 onPan={(to) => pause(to)} onZoom={zoom} onKey={onKey}
                 label={summaryWords(store.current)} />
          {hover && <Tip hover={hover} step={store.current.steps.get(hover.segment[3])} />}
        </div>
        <Legend />
      </div>
      {loaded && summary && <Bubbles store={store.current} />}
    </div>
  );
}

function laneName(lane: Lane, pooled: boolean): [string, string] {
  const ranks = `rank${lane.ranks[1] - lane.ranks[0] > 1 ? 's' : ''} ${span(lane.ranks)}`;
  if (pooled) return ['All stages', `${ranks}, one pool`];
  return [`Stage ${lane.stage}`, lane.layers[1] > lane.layers[0] ? `layers ${span(lane.layers)}, ${ranks}` : `head, ${ranks}`];
}

function summaryWords(store: TimelineStore): string {
  const rows = store.summary?.rows ?? [];
  const words = rows.map((row, index) => `row ${index}: bubble ${percent(row.measured)}`);
  return `Timeline of the pipeline. ${words.join(', ')}. Arrow keys move, plus and minus zoom, space pauses.`;
}

function Headline({ store, state }: { store: TimelineStore; state: State | null }) {
  const summary = store.summary;
  const rows = summary?.rows ?? [];
  const active = (summary?.active_s ?? 0) > 0;
  const mean = rows.reduce((sum, row) => sum + row.measured, 0) / Math.max(1, rows.length);
  const known = rows.filter((row) => row.predicted !== null);
  const predicted = known.reduce((sum, row) => sum + (row.predicted ?? 0), 0) / Math.max(1, known.length);
  const figures: [string, string, string][] = [
    ['Bubble, measured', active ? percent(mean, 1) : '–', 'while steps are in flight, last 10 s'],
    ['Bubble, predicted', active && known.length > 0 ? percent(predicted, 1) : '–', 'by the pipeline’s formula'],
    ['Steps', active && summary ? `${(summary.steps / summary.active_s).toFixed(0)} /s` : '–', 'while any is in flight'],
    ['In flight', active && summary ? summary.in_flight.toFixed(1) : '–', 'micro-batches, mean'],
  ];
  return (
    <div class="tiles">
      {figures.map(([name, value, hint]) => (
        <div class="tile" key={name}><div class="tile-name">{name}</div><div class="tile-value">{value}</div><div class="hint">{hint}</div></div>
      ))}
      {state && state.queue.running + state.queue.waiting === 0 && !active && (
        <p class="tile-note">Nothing runs. Ask something in the playground, and watch it pass through the stages.</p>
      )}
    </div>
  );
}

function LaneLabels({ lanes, pooled }: { lanes: Lane[]; pooled: boolean }) {
  return (
    <div class="lane-labels" style={{ paddingTop: `${kAxis}px` }}>
      {lanes.map((lane, index) => {
        const [name, detail] = laneName(lane, pooled);
        return <div key={index} class="lane-label" style={{ height: `${kLane}px`, marginBottom: `${kGap}px` }}><b>{name}</b><span>{detail}</span></div>;
      })}
      <div class="lane-label"><b>Sequences</b><span>run, wait</span></div>
    </div>
  );
}

interface ChartProps {
  store: TimelineStore; windowNow: () => Window_us; live: boolean; hover: Hover | null; label: string;
  onHover: (hover: Hover | null) => void; onPan: (end_us: number) => void;
  onZoom: (factor: number, around: number) => void; onKey: (event: KeyboardEvent) => void;
}

function Chart({ store, windowNow, live, hover, label, onHover, onPan, onZoom, onKey }: ChartProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const chart = useRef<TimelineChart | null>(null);
  const drag = useRef<{ x: number; end_us: number } | null>(null);
  const highlit = hover && hover.segment[3] >= 0 ? hover.segment[3] : null;

  useEffect(() => {
    if (!canvas.current) return;
    const element = canvas.current;
    chart.current = new TimelineChart(element, lookOf(element));
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const relook = () => chart.current?.setLook(lookOf(element));
    scheme.addEventListener('change', relook);
    return () => scheme.removeEventListener('change', relook);
  }, []);
  useEffect(() => {
    // Who wants no motion gets a picture a second.
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    let frame = 0, timer = 0;
    const draw = () => {
      chart.current?.draw(store, windowNow(), highlit);
      if (live && calm) timer = setTimeout(draw, kPicture_us / 1000);
      else frame = requestAnimationFrame(draw);
    };
    draw();
    return () => { cancelAnimationFrame(frame); clearTimeout(timer); };
  }, [store, windowNow, live, highlit]);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    // Plain scrolling stays the page's; with Ctrl, or a pinch, it zooms.
    const onWheel = (event: WheelEvent) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      onZoom(Math.exp(event.deltaY * 0.01), event.offsetX / element.clientWidth);
    };
    element.addEventListener('wheel', onWheel, { passive: false });
    return () => element.removeEventListener('wheel', onWheel);
  }, [onZoom]);

  const onMove = (event: PointerEvent) => {
    const width = canvas.current?.clientWidth ?? 1;
    const window = windowNow();
    if (drag.current) {
      onHover(null);
      return onPan(drag.current.end_us - ((event.offsetX - drag.current.x) / width) * (window.end - window.begin));
    }
    const found = segmentAt(store, window, width, event.offsetX, event.offsetY);
    onHover(found && { ...found, x: event.offsetX, y: event.offsetY });
  };
  return (
    <canvas ref={canvas} class="chart-canvas" tabIndex={0} role="img" aria-label={label} onKeyDown={onKey}
            style={{ height: `${chartHeight(store.lanes.length)}px` }}
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              drag.current = { x: event.offsetX, end_us: windowNow().end };
            }}
            onPointerUp={() => { drag.current = null; }} onPointerCancel={() => { drag.current = null; }}
            onPointerMove={onMove} onPointerLeave={() => onHover(null)} />
  );
}

const kWords: Record<Segment[2], string> = {
  work: 'Work', schedule: 'Scheduler', input: 'Bubble: waits for the stage before',
  send: 'Bubble: waits for room in the stage after', idle: 'Bubble: no step to run',
  rest: 'No request runs',
};

function Tip({ hover, step }: { hover: Hover; step: Step | undefined }) {
  const [, length, kind, id, collective] = hover.segment;
  const rows: [string, string][] = [['takes', duration(length / 1e6)]];
  if (kind === 'work') {
    rows.push(['collectives', percent(length > 0 ? collective / length : 0)]);
    if (step) {
      rows.push(['tokens', `${count(step[2])}${step[4] ? ' (prompt)' : ''}`], ['sequences', count(step[3])],
                ['positions', `${count(step[5])}–${count(step[6] - 1)}`]);
    }
  }
  return (
    <div class="tip" role="tooltip" style={{ '--x': `${hover.x}px`, '--y': `${hover.y}px` }}>
      <b>{kind === 'work' && id >= 0 ? `Step ${count(id)}` : kWords[kind]}</b>
      <dl>{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </div>
  );
}

function Legend() {
  return (
    <div class="chart-legend">
      <span><i class="key batches" />micro-batch, in its colour</span>
      <span><i class="key foot" />collectives</span>
      <span><i class="key bubble-key" />bubble</span>
      <span><i class="key send-key" />waits for room</span>
      <span><i class="key schedule-key" />scheduler</span>
      <span><i class="key rest-key" />no request</span>
      <span class="grow" />
      <span class="hint wide-only">Drag to move, Ctrl + scroll to zoom, space to pause</span>
    </div>
  );
}

function Bubbles({ store }: { store: TimelineStore }) {
  const rows = store.summary?.rows ?? [];
  return (
    <section class="card" aria-label="Bubbles">
      <h2>Bubble of each stage</h2>
      <p class="hint">The share of the time with steps in flight in which a stage works on none. Predicted: the same steps through
        the pipeline’s recurrence, each taking what steps of its size take. What is measured above it is waiting that the schedule does not explain.</p>
      <div class="table-scroll"><table>
        <thead><tr><th scope="col">Stage</th><th scope="col" class="wide">Share</th><th scope="col" class="num">Measured</th><th scope="col" class="num">Predicted</th></tr></thead>
        <tbody>
          {rows.map((row, index) => {
            const lane = store.lanes.find((one) => one.row === index);
            return (
              <tr key={index}>
                <th scope="row">{lane ? laneName(lane, store.pooled)[0] : index}</th>
                <td class="wide"><span class="bar"><span class="bar-bubble" style={{ width: percent(row.measured, 2).replace(' ', '') }} />
                  {row.predicted !== null && <span class="bar-mark" style={{ left: `${100 * row.predicted}%` }} />}</span></td>
                <td class="num">{percent(row.measured, 1)}</td>
                <td class="num">{row.predicted === null ? '–' : percent(row.predicted, 1)}</td>
              </tr>
            );
          })}
        </tbody>
      </table></div>
      <p class="hint">{plural(store.summary?.steps ?? 0, 'step')} in {duration(store.summary?.active_s ?? 0)}; the mark is the prediction.</p>
    </section>
  );
}
