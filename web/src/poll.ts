// Asks the server again and again: while the tab is seen, and more slowly while it does not answer.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { getJson, ServerError, type Trouble } from './api';

export interface Polled<T> {
  value: T | null;        // the last that came
  trouble: Trouble | null;  // since then
  retry: () => void;
}

const kSlowest_ms = 8000;

// path: asked for before each request. Null: rest.
export function usePoll<T>(path: (() => string) | null, every_ms: number,
                           onValue?: (value: T) => void): Polled<T> {
  const [value, setValue] = useState<T | null>(null);
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const wake = useRef<() => void>(() => undefined);
  const told = useRef(onValue);
  told.current = onValue;
  const pathOf = useRef(path);
  pathOf.current = path;
  const active = path !== null;

  useEffect(() => {
    if (!active) return;
    let timer = 0;
    let failures = 0;
    let running = false;
    const abort = new AbortController();
    const next = async () => {
      clearTimeout(timer);
      if (running || document.hidden || !pathOf.current) return;
      running = true;
      try {
        const got = await getJson<T>(pathOf.current(), abort.signal);
        failures = 0;
        setTrouble(null);
        setValue(got);
        told.current?.(got);
      } catch (error) {
        if (abort.signal.aborted) return;
        failures += 1;
        setTrouble(error instanceof ServerError ? error.trouble
                                                : { kind: 'answer', status: 0, message: String(error) });
      } finally {
        running = false;
      }
      if (!abort.signal.aborted)
        timer = setTimeout(next, Math.min(every_ms * 2 ** Math.min(failures, 5), kSlowest_ms));
    };
    wake.current = next;
    document.addEventListener('visibilitychange', next);
    next();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', next);
    };
  }, [active, every_ms]);

  return { value, trouble, retry: useCallback(() => wake.current(), []) };
}
