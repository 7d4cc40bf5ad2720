// The request as curl or Python, to copy.
import { useEffect, useRef, useState } from 'preact/hooks';
import { asCurl, asPython } from './snippets';

interface Props { body: Record<string, unknown>; needsKey: boolean; onClose: () => void }

export function CodeDialog({ body, needsKey, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const text = useRef<HTMLTextAreaElement>(null);
  const [language, setLanguage] = useState<'curl' | 'python'>('curl');
  const [copied, setCopied] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const code = language === 'curl' ? asCurl(body, needsKey) : asPython(body, needsKey);

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
    } catch {
      // No clipboard outside of a secure context: the selection is the way that is left.
      text.current?.select();
      document.execCommand('copy');
    }
    setCopied(true);
  };
  const choose = (to: 'curl' | 'python') => {
    setLanguage(to);
    setCopied(false);
  };
  return (
    <dialog ref={dialog} class="dialog wide" aria-label="Copy as code" onClose={onClose}>
      <div class="dialog-head">
        <div class="segmented" role="group" aria-label="Language">
          <button type="button" aria-pressed={language === 'curl'} onClick={() => choose('curl')}>curl</button>
          <button type="button" aria-pressed={language === 'python'} onClick={() => choose('python')}>Python</button>
        </div>
        <span class="grow" />
        <button type="button" class="primary" onClick={copy}>{copied ? 'Copied' : 'Copy'}</button>
        <button type="button" class="quiet" onClick={() => dialog.current?.close()}>Close</button>
      </div>
      <textarea ref={text} class="code block" readOnly rows={Math.min(22, code.split('\n').length)} value={code}
                aria-label="Code" />
      <span class="hidden" role="status">{copied ? 'Copied' : ''}</span>
    </dialog>
  );
}
