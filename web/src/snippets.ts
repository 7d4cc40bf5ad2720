// The request of the playground as a program that anyone can run.

type Json = Record<string, unknown>;

export function asCurl(body: Json, needsKey: boolean): string {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const lines = [`curl -N ${location.origin}/v1/chat/completions`, "-H 'Content-Type: application/json'"];
  if (needsKey) lines.push('-H "Authorization: Bearer $WEFT_API_KEY"');
  lines.push(`-d '${quoted}'`);
  return lines.join(' \\\n  ');
}

function python(value: unknown, indent = ''): string {
  const deeper = indent + '    ';
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    return `[\n${value.map((item) => deeper + python(item, deeper)).join(',\n')},\n${indent}]`;
  }
  if (typeof value === 'object') {
    const rows = Object.entries(value as Json).map(
        ([key, item]) => `${deeper}${JSON.stringify(key)}: ${python(item, deeper)}`);
    return rows.length === 0 ? '{}' : `{\n${rows.join(',\n')},\n${indent}}`;
  }
  return JSON.stringify(value);
}

// Fields that the official client does not know travel in extra_body.
const kExtras = new Set(['top_k', 'min_p', 'repetition_penalty']);

export function asPython(body: Json, needsKey: boolean): string {
  const known: string[] = [];
  const extra: Json = {};
  for (const [key, value] of Object.entries(body)) {
    if (kExtras.has(key)) extra[key] = value;
    else known.push(`    ${key}=${python(value, '    ')},`);
  }
  if (Object.keys(extra).length > 0) known.push(`    extra_body=${python(extra, '    ')},`);
  return [
    ...(needsKey ? ['import os', ''] : []),
    'from openai import OpenAI',
    '',
    `client = OpenAI(base_url="${location.origin}/v1", api_key=${
        needsKey ? 'os.environ["WEFT_API_KEY"]' : '"none"'})`,
    'stream = client.chat.completions.create(',
    ...known,
    ')',
    'for chunk in stream:',
    '    if chunk.choices:',
    '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
    'print()',
  ].join('\n');
}
