// Asks for the server's API key. It stays in this tab's session and goes to this server alone.
import { useEffect, useRef } from 'preact/hooks';
import { apiKey, setApiKey } from './api';

export function KeyDialog({ wrong, onDone }: { wrong: boolean; onDone: (saved: boolean) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const saved = useRef(false);
  useEffect(() => dialog.current?.showModal(), []);
  const save = (event: Event) => {
    event.preventDefault();
    setApiKey(input.current?.value.trim() ?? '');
    saved.current = true;
    dialog.current?.close();
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="key-title" onClose={() => onDone(saved.current)}>
      <form onSubmit={save}>
        <h2 id="key-title">API key</h2>
        <p>{wrong ? 'The server refused this key.' : 'The server was started with keys, so it asks for one.'}</p>
        <label class="field">
          <span class="field-label">Key</span>
          <input ref={input} type="password" autocomplete="off" autofocus defaultValue={apiKey()}
                 aria-invalid={wrong} />
        </label>
        <p class="hint">Kept until this tab is closed, and sent to this server alone.</p>
        <div class="dialog-row">
          <button type="button" class="quiet" onClick={() => dialog.current?.close()}>Cancel</button>
          <button type="submit" class="primary">Use this key</button>
        </div>
      </form>
    </dialog>
  );
}
