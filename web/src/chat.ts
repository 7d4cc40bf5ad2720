// A conversation with /v1/chat/completions: what is asked, what streams back, and what it took.
import { postEvents, ServerError } from './api';
import type { TokenLogprob } from './types';

export interface Parameters {
  system: string;
  temperature: number; top_p: number; top_k: number; min_p: number;
  max_tokens: number;
  seed: string;  // empty: the server draws one
  stop: string;  // one a line
  repetition_penalty: number; presence_penalty: number; frequency_penalty: number;
  format: 'text' | 'json_object' | 'json_schema';
  schema: string;
  logprobs: boolean;
}

export const kDefaults: Parameters = {
  system: '', temperature: 0.7, top_p: 1, top_k: 0, min_p: 0, max_tokens: 512, seed: '', stop: '',
  repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0,
  format: 'text', logprobs: true,
  schema: `{
  "type": "object",
  "properties": {
    "city": { "type": "string" },
    "country": { "type": "string" },
    "population": { "type": "integer" }
  },
  "required": ["city", "country", "population"],
  "additionalProperties": false
}`,
};

// A piece of an answer: mostly one token; those that only together make a character share a piece.
export interface Token {
  text: string;
  logprob: number;
  choices: { text: string; logprob: number }[];  // the best, best first
}

export interface Message {
  id: number;
  role: 'user' | 'assistant';
  text: string;
  reasoning: string;
  tokens: Token[];  // empty without logprobs
  state: 'streaming' | 'done' | 'stopped' | 'failed';
  finish: string | null;
  error: string | null;
  asked_ms: number; first_ms: number; last_ms: number;  // performance.now()
  prompt_tokens: number; cached_tokens: number; completion_tokens: number;
}

let lastId = 0;
export function message(role: 'user' | 'assistant', text = ''): Message {
  return {
    id: ++lastId, role, text, reasoning: '', tokens: [],
    state: role === 'user' ? 'done' : 'streaming', finish: null, error: null,
    asked_ms: performance.now(), first_ms: 0, last_ms: 0,
    prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0,
  };
}

// The words that a schema is wrong by, or none.
export function schemaProblem(parameters: Parameters): string | null {
  if (parameters.format !== 'json_schema') return null;
  try {
    const schema = JSON.parse(parameters.schema);
    return typeof schema === 'object' && schema !== null ? null : 'A schema is a JSON object.';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

type Json = Record<string, unknown>;

// What differs from the server's own defaults is sent, and nothing else. The schema, where it is
// asked for, has no problem.
export function requestBody(model: string, messages: Message[], parameters: Parameters): Json {
  const body: Json = { model, messages: [] as Json[] };
  const turns = body['messages'] as Json[];
  if (parameters.system.trim()) turns.push({ role: 'system', content: parameters.system });
  for (const { role, text, state } of messages)
    if (state !== 'failed' && text) turns.push({ role, content: text });
  body['max_tokens'] = parameters.max_tokens;
  body['temperature'] = parameters.temperature;
  if (parameters.top_p !== 1) body['top_p'] = parameters.top_p;
  if (parameters.top_k > 0) body['top_k'] = parameters.top_k;
  if (parameters.min_p > 0) body['min_p'] = parameters.min_p;
  if (/^-?\d+$/.test(parameters.seed)) body['seed'] = Number(parameters.seed);
  const stop = parameters.stop.split('\n').filter((line) => line !== '');
  if (stop.length > 0) body['stop'] = stop;
  if (parameters.repetition_penalty !== 1)
    body['repetition_penalty'] = parameters.repetition_penalty;
  if (parameters.presence_penalty !== 0) body['presence_penalty'] = parameters.presence_penalty;
  if (parameters.frequency_penalty !== 0) body['frequency_penalty'] = parameters.frequency_penalty;
  if (parameters.format === 'json_object') body['response_format'] = { type: 'json_object' };
  if (parameters.format === 'json_schema') {
    body['response_format'] = {
      type: 'json_schema',
      json_schema: { name: 'answer', strict: true, schema: JSON.parse(parameters.schema) },
    };
  }
  if (parameters.logprobs) {
    body['logprobs'] = true;
    body['top_logprobs'] = 5;
  }
  body['stream'] = true;
  body['stream_options'] = { include_usage: true };
  return body;
}

interface Chunk {
  error?: { message?: string };
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null; reasoning?: string | null };
    logprobs?: { content?: TokenLogprob[] | null } | null;
    finish_reason?: string | null;
  }[];
  usage?: {
    prompt_tokens?: number; completion_tokens?: number;
    prompt_tokens_details?: { cached_tokens?: number } | null;
  } | null;
}

// Tokens are bytes; a piece ends where they make whole characters.
class Pieces {
  private decoder = new TextDecoder();
  private held = '';

  add(tokens: Token[], entry: TokenLogprob) {
    const text = entry.bytes ? this.decoder.decode(new Uint8Array(entry.bytes), { stream: true })
                             : entry.token;
    this.held += text;
    if (this.held === '') return;
    tokens.push({
      text: this.held,
      logprob: entry.logprob,
      choices: (entry.top_logprobs ?? []).map(({ token, logprob }) => ({ text: token, logprob })),
    });
    this.held = '';
  }
}

// Streams the answer into `answer`, calling `changed` for every piece. Never throws: what went wrong
// is in the message.
export async function streamAnswer(body: Json, answer: Message, signal: AbortSignal,
                                   changed: () => void): Promise<void> {
  const pieces = new Pieces();
  answer.asked_ms = performance.now();
  try {
    for await (const data of postEvents('/v1/chat/completions', body, signal)) {
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Error(chunk.error.message ?? 'The answer was cut off.');
      apply(chunk, answer, pieces);
      changed();
    }
    answer.state = answer.finish === null ? 'failed' : 'done';
    if (answer.finish === null) answer.error = 'The answer broke off before its end.';
  } catch (error) {
    answer.state = signal.aborted ? 'stopped' : 'failed';
    if (!signal.aborted) answer.error = wordsOf(error);
  }
  changed();
}

function wordsOf(error: unknown): string {
  if (error instanceof ServerError && error.trouble.kind === 'unreachable')
    return 'The connection to the server broke.';
  return error instanceof Error ? error.message : String(error);
}

function apply(chunk: Chunk, answer: Message, pieces: Pieces) {
  const choice = chunk.choices?.[0];
  const thought = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? '';
  const text = choice?.delta?.content ?? '';
  const logprobs = choice?.logprobs?.content ?? [];
  if (text || thought || logprobs.length > 0) {
    const now = performance.now();
    if (answer.first_ms === 0) answer.first_ms = now;
    answer.last_ms = now;
    answer.text += text;
    answer.reasoning += thought;
    for (const entry of logprobs) pieces.add(answer.tokens, entry);
    if (text || thought) answer.completion_tokens += Math.max(1, logprobs.length);
  }
  if (choice?.finish_reason) answer.finish = choice.finish_reason;
  if (chunk.usage) {
    answer.prompt_tokens = chunk.usage.prompt_tokens ?? 0;
    answer.completion_tokens = chunk.usage.completion_tokens ?? answer.completion_tokens;
    answer.cached_tokens = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
  }
}

// The tokens of the text that is shown. A stop string is cut out of the text, and reasoning is kept
// apart from it, but both have tokens: where these are not the text's own there are none to show.
export function tokensOfText({ tokens, text, state }: Message): Token[] {
  if (state === 'streaming') return tokens;
  let at = 0;
  const shown: Token[] = [];
  for (const token of tokens) {
    if (at >= text.length) break;
    const part = token.text.slice(0, text.length - at);
    if (!text.startsWith(part, at)) return [];
    shown.push(part === token.text ? token : { ...token, text: part });
    at += part.length;
  }
  return at === text.length ? shown : [];
}

export function firstTokenSeconds(answer: Message): number | null {
  return answer.first_ms > 0 ? (answer.first_ms - answer.asked_ms) / 1000 : null;
}

// Of the tokens after the first.
export function tokensPerSecond(answer: Message): number | null {
  const seconds = (answer.last_ms - answer.first_ms) / 1000;
  return answer.completion_tokens > 1 && seconds > 0 ? (answer.completion_tokens - 1) / seconds : null;
}
