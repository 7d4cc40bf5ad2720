// What the server tells (src/serve/page_data.h, cache_data.h), and what the chat API streams.

export interface Failure { what: string; why: string; mend: string }

export interface RankShare {
  rank: number; stage: number; shard: number;
  layers: [number, number];
  heads: string; kv_heads: string; ffn: string;
  vocab_rows: number;
  weight_bytes: number; kv_bytes: number; step_bytes: number;
  reduce_bytes_per_token: number;
}

export interface StageTime {
  ranks: [number, number];
  busy_s: number; collectives_s: number; input_s: number;
  nothing_s: number; sending_s: number; scheduler_s: number;
  window_s: number; bubble: number;
}

export interface BlockCounts { blocks: number; used: number; cached: number; free: number }

export interface HeldRequest {
  number: number; mine: boolean; principal: string | null; running: boolean; priority: number;
  choices: number; prompt_tokens: number; cached_tokens: number; generated_tokens: number;
  preemptions: number; arrived_us: number; scheduled_us: number; first_token_us: number;
}

export interface State {
  now_us: number;
  engine: {
    alive: boolean; paused: boolean; failure: Failure | null;
    last_step_us: number; in_step_since_us: number; started_us: number;
  };
  model: {
    name: string; fingerprint: string; architecture: string; family: string; file_type: string;
    parameters: number; file_bytes: number; layers: number; hidden_size: number; heads: number;
    kv_heads: number; vocab_size: number; max_model_len: number; isa: string;
  };
  split: {
    topology: string; imbalance: number; ranks: RankShare[];
    draft: { model: string; ranks: RankShare[] } | null;
    asked_and_got: string[]; warnings: string[];
  };
  pipeline: { pooled: boolean; window_s: number; steps: number; stages: StageTime[] };
  cache: BlockCounts & {
    window: BlockCounts | null; dtype: string; block_size: number;
    prompt_tokens: number; cached_prompt_tokens: number;
  };
  work: {
    prompt_tokens: number; generated_tokens: number; steps: number; preemptions: number;
    scheduler_s: number; guessed_tokens: number; accepted_tokens: number;
  };
  limits: { max_num_seqs: number; max_num_batched_tokens: number };
  queue: { waiting: number; running: number; requests: HeldRequest[] };
}

export interface PrefixSum { runs: number; blocks: number; tokens: number; used: number }

// Blocks in a row without a branch between them.
export interface PrefixRun {
  block: number;   // its name
  parent: number;  // in `runs`; -1: none
  blocks: number; tokens: number; sequences: number; new: boolean; idle_since_us: number;
  mine: boolean; more: PrefixSum;
}

export interface PrefixCache {
  now_us: number; made_us: number; enabled: boolean; block_size: number;
  published: number; unpublished: number; not_seen: number;
  owners: { principal: string; mine: PrefixSum; others: PrefixSum; unknown: PrefixSum };
  runs: PrefixRun[]; more: PrefixSum;
}

export type SegmentKind = 'work' | 'schedule' | 'input' | 'send' | 'idle' | 'rest';
// [begin_us, duration_us, kind, step, collective_us]
export type Segment = [number, number, SegmentKind, number, number];
// [id, submitted_us, tokens, sequences, has_prompt, first_position, end_position, running, waiting,
//  used_blocks]
export type Step = [number, number, number, number, number, number, number, number, number, number];

export interface TimelineWorker {
  row: number; ranks: [number, number]; stage: number; layers: [number, number]; dropped: number;
  segments: Segment[];
}

export interface TimelineSummary {
  active_s: number; steps: number; in_flight: number;
  rows: { measured: number; predicted: number | null }[];
}

export interface Timeline {
  now_us: number; begin_us: number; pooled: boolean;
  workers: TimelineWorker[]; steps: Step[]; summary: TimelineSummary;
}

export interface TokenLogprob {
  token: string; logprob: number; bytes: number[] | null;
  top_logprobs?: { token: string; logprob: number; bytes: number[] | null }[];
}
