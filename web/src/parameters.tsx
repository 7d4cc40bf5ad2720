// The panel of what an answer is asked with.
import type { ComponentChildren } from 'preact';
import { schemaProblem, kDefaults, type Parameters } from './chat';

interface Props { value: Parameters; onChange: (value: Parameters) => void }

function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span class="field-label">{label}{hint && <span class="hint">{hint}</span>}</span>
      {children}
    </label>
  );
}

export function ParameterPanel({ value, onChange }: Props) {
  const set = <K extends keyof Parameters>(key: K, to: Parameters[K]) => onChange({ ...value, [key]: to });
  const number = (key: keyof Parameters, min: number, max: number, step: number) => (
    <input type="number" inputMode="decimal" min={min} max={max} step={step} value={value[key] as number}
           onChange={(event) => {
             const typed = Number(event.currentTarget.value);
             const to = event.currentTarget.value === '' || Number.isNaN(typed)
                            ? kDefaults[key] as number : Math.min(max, Math.max(min, typed));
             event.currentTarget.value = String(to);
             set(key, to as never);
           }} />
  );
  const problem = schemaProblem(value);
  return (
    <div class="parameters">
      <Field label="System prompt">
        <textarea rows={2} value={value.system} placeholder="You are a careful assistant."
                  onInput={(event) => set('system', event.currentTarget.value)} />
      </Field>
      <Field label="Temperature" hint={value.temperature === 0 ? 'greedy' : value.temperature.toFixed(2)}>
        <input type="range" min={0} max={2} step={0.05} value={value.temperature}
               onInput={(event) => set('temperature', Number(event.currentTarget.value))} />
      </Field>
      <div class="pair">
        <Field label="Max tokens">{number('max_tokens', 1, 1_000_000, 1)}</Field>
        <Field label="Seed">
          <input type="text" inputMode="numeric" pattern="-?[0-9]*" placeholder="drawn" value={value.seed}
                 onInput={(event) => set('seed', event.currentTarget.value.replace(/[^0-9-]/g, ''))} />
        </Field>
        <Field label="Top-p">{number('top_p', 0.01, 1, 0.01)}</Field>
        <Field label="Top-k" hint="0: all">{number('top_k', 0, 100_000, 1)}</Field>
      </div>
      <Field label="Answer as">
        <select value={value.format}
                onChange={(event) => set('format', event.currentTarget.value as Parameters['format'])}>
          <option value="text">Text</option>
          <option value="json_object">Any JSON object</option>
          <option value="json_schema">JSON by a schema</option>
        </select>
      </Field>
      {value.format === 'json_schema' && (
        <Field label="Schema">
          <textarea class="code" rows={9} spellcheck={false} value={value.schema}
                    aria-invalid={problem !== null} aria-describedby="schema-problem"
                    onInput={(event) => set('schema', event.currentTarget.value)} />
          <span id="schema-problem" class="problem" role="status">{problem}</span>
        </Field>
      )}
      <label class="check">
        <input type="checkbox" checked={value.logprobs}
               onChange={(event) => set('logprobs', event.currentTarget.checked)} />
        Colour tokens by probability
      </label>
      <details>
        <summary>More</summary>
        <div class="pair">
          <Field label="Min-p">{number('min_p', 0, 1, 0.01)}</Field>
          <Field label="Repetition">{number('repetition_penalty', 0.1, 2, 0.05)}</Field>
          <Field label="Presence">{number('presence_penalty', -2, 2, 0.1)}</Field>
          <Field label="Frequency">{number('frequency_penalty', -2, 2, 0.1)}</Field>
        </div>
        <Field label="Stop strings" hint="one a line">
          <textarea rows={2} class="code" value={value.stop}
                    onInput={(event) => set('stop', event.currentTarget.value)} />
        </Field>
        <button type="button" class="quiet" onClick={() => onChange(kDefaults)}>Reset all</button>
      </details>
    </div>
  );
}
