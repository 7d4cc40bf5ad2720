// How the page talks to its server: with the key that this tab was given, and errors in words.

const kKeyName = 'weft-api-key';

export type Trouble =
  | { kind: 'unreachable' }
  | { kind: 'key'; wrong: boolean }
  | { kind: 'answer'; status: number; message: string };

export class ServerError extends Error {
  constructor(readonly trouble: Trouble) {
    super(messageOf(trouble));
  }
}

export function messageOf(trouble: Trouble): string {
  switch (trouble.kind) {
    case 'unreachable': return 'The server does not answer.';
    case 'key': return trouble.wrong ? 'The server refused this key.' : 'The server asks for a key.';
    case 'answer': return trouble.message;
  }
}

// The key lives as long as the tab, and is sent to this server alone.
export function apiKey(): string { return sessionStorage.getItem(kKeyName) ?? ''; }
export function setApiKey(key: string) {
  if (key) sessionStorage.setItem(kKeyName, key);
  else sessionStorage.removeItem(kKeyName);
}

function headers(json: boolean): HeadersInit {
  const all: Record<string, string> = {};
  if (json) all['Content-Type'] = 'application/json';
  if (apiKey()) all['Authorization'] = `Bearer ${apiKey()}`;
  return all;
}

// key: that the request was sent with; another one may have been entered since.
async function troubleOf(response: Response, key: string): Promise<Trouble> {
  // Not 403: a server that takes no requests of this page says so, and no key mends it.
  if (response.status === 401)
    return { kind: 'key', wrong: key !== '' && key === apiKey() };
  let message = `The server answered ${response.status}.`;
  try {
    const body = await response.json();
    if (typeof body?.error?.message === 'string') message = body.error.message;
  } catch {
    // Not JSON: the status has to do.
  }
  return { kind: 'answer', status: response.status, message };
}

async function ask(path: string, options: RequestInit): Promise<Response> {
  const key = apiKey();
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ServerError({ kind: 'unreachable' });
  }
  if (!response.ok) throw new ServerError(await troubleOf(response, key));
  return response;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await ask(path, { headers: headers(false), ...(signal ? { signal } : {}) });
  return await response.json() as T;
}

// The data of each event of a stream, until [DONE] or its end.
export async function* postEvents(path: string, body: unknown, signal: AbortSignal):
    AsyncGenerator<string> {
  const response = await ask(path, {
    method: 'POST', headers: headers(true), body: JSON.stringify(body), signal,
  });
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!line.startsWith('data:')) continue;
        const data = line.slice(5).trim();
        if (data === '[DONE]') return;
        if (data) yield data;
      }
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ServerError({ kind: 'unreachable' });
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
