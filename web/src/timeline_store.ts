// The last minute of the pipeline, put together from answers that each tell what is new.
import type { Segment, Step, Timeline, TimelineSummary } from './types';

export interface Lane {
  row: number; ranks: [number, number]; stage: number; layers: [number, number];
  segments: Segment[];  // in order
}

const kKept_us = 60e6;

export class TimelineStore {
  lanes: Lane[] = [];
  steps = new Map<number, Step>();
  stepOrder: Step[] = [];
  summary: TimelineSummary | null = null;
  pooled = false;
  begin_us = 0;
  end_us = 0;            // up to which all lanes are known
  private clock_us = 0;  // server's clock less this page's
  private last_now_us = 0;

  // What to ask for next.
  since_us(): number {
    return Math.max(0, Math.floor(this.end_us) - 1);
  }
  // The server's clock now.
  now_us(): number {
    return performance.now() * 1000 + this.clock_us;
  }

  add(timeline: Timeline) {
    // Another process, or another split: nothing of before holds.
    if (timeline.now_us < this.last_now_us || timeline.workers.length !== this.lanes.length) this.reset(timeline);
    this.last_now_us = timeline.now_us;
    this.begin_us = timeline.begin_us;
    this.pooled = timeline.pooled;
    this.summary = timeline.summary;
    // Answers that took longest on their way are furthest behind: the largest difference is nearest.
    const difference = timeline.now_us - performance.now() * 1000;
    this.clock_us = Math.abs(difference - this.clock_us) > 1e6 ? difference
                                                              : Math.max(difference, this.clock_us - 20);
    timeline.workers.forEach((worker, index) => this.append(this.lanes[index] as Lane, worker.segments));
    for (const step of timeline.steps) {
      if (!this.steps.has(step[0])) this.stepOrder.push(step);
      this.steps.set(step[0], step);
    }
    this.forget();
  }

  private reset(timeline: Timeline) {
    this.lanes = timeline.workers.map(({ row, ranks, stage, layers }) => ({ row, ranks, stage, layers, segments: [] }));
    this.steps.clear();
    this.stepOrder = [];
    this.end_us = 0;
    this.clock_us = 0;
  }

  // What was under way before is told again, from its beginning and longer.
  private append(lane: Lane, news: Segment[]) {
    const first = news[0];
    if (!first) return;
    const { segments } = lane;
    while (segments.length > 0 && (segments.at(-1) as Segment)[0] >= first[0]) segments.pop();
    const last = segments.at(-1);
    if (last && last[0] + last[1] > first[0]) last[1] = first[0] - last[0];
    for (const segment of news) segments.push(segment);
  }

  private forget() {
    const ends = this.lanes.map(({ segments }) => {
      const last = segments.at(-1);
      return last ? last[0] + last[1] : 0;
    });
    this.end_us = ends.length > 0 ? Math.min(...ends) : 0;
    const oldest = this.end_us - kKept_us;
    for (const lane of this.lanes) {
      const keep = firstEndingAfter(lane.segments, oldest);
      if (keep > 2000) lane.segments.splice(0, keep);
    }
    let drop = 0;
    while (drop < this.stepOrder.length && (this.stepOrder[drop] as Step)[1] < oldest) drop += 1;
    if (drop > 500)
      for (const step of this.stepOrder.splice(0, drop)) this.steps.delete(step[0]);
  }
}

// Index of the first segment that ends after `at`.
export function firstEndingAfter(segments: Segment[], at: number): number {
  let low = 0, high = segments.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const segment = segments[middle] as Segment;
    if (segment[0] + segment[1] > at) high = middle;
    else low = middle + 1;
  }
  return low;
}
