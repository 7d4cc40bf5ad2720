// What the model is split into: stages and ranks with their shares, their memory and their time.
import { bytes, count, percent, short, span } from './format';
import type { RankShare, StageTime, State } from './types';

export function Machine({ state }: { state: State | null }) {
  if (!state) return <div class="page"><p class="notice">No data of the server yet.</p></div>;
  const { model, split } = state;
  const facts: [string, string][] = [
    ['Model', model.name], ['Family', [model.family || model.architecture, model.file_type].filter(Boolean).join(', ')],
    ['Parameters', short(model.parameters)], ['Layers', count(model.layers)],
    ['Heads', model.kv_heads > 0 && model.kv_heads !== model.heads ? `${model.heads}, ${model.kv_heads} of keys and values` : `${model.heads}`],
    ['Context', `${count(model.max_model_len)} tokens`], ['Split', split.topology],
    ['Arithmetic', model.isa], ['Fingerprint', model.fingerprint],
  ];
  return (
    <div class="page">
      <div class="page-head"><h1>Machine</h1></div>
      <section class="card">
        <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value || '–'}</dd></div>)}</dl>
        {[...split.asked_and_got, ...split.warnings].map((line) => <p class="notice" key={line}>{line}</p>)}
      </section>
      <section class="card" aria-label="Layers">
        <h2>Layers and heads</h2>
        <LayerMap ranks={split.ranks} numLayers={model.layers} />
      </section>
      <section class="card" aria-label="Ranks">
        <h2>Ranks</h2>
        <RankTable ranks={split.ranks} />
        {split.imbalance > 1.005 && <p class="hint">The fullest rank holds {percent(split.imbalance - 1, 1)} more weights than the mean.</p>}
      </section>
      {split.draft && (
        <section class="card" aria-label="Draft model">
          <h2>Draft model: {split.draft.model}</h2>
          <RankTable ranks={split.draft.ranks} />
        </section>
      )}
      <section class="card" aria-label="Time">
        <h2>Where the time goes</h2>
        <TimeSplit stages={state.pipeline.stages} pooled={state.pipeline.pooled} window_s={state.pipeline.window_s} />
      </section>
    </div>
  );
}

function memoryOf(rank: RankShare): number {
  return rank.weight_bytes + rank.kv_bytes + rank.step_bytes;
}

// A row a stage; a block spans its layers, and is cut between its ranks by their weights.
function LayerMap({ ranks, numLayers }: { ranks: RankShare[]; numLayers: number }) {
  const stages = [...new Set(ranks.map((rank) => rank.stage))];
  return (
    <div class="layer-map" role="img" aria-label={`${stages.length} stages over ${numLayers} layers`}>
      {stages.map((stage) => {
        const members = ranks.filter((rank) => rank.stage === stage);
        const [begin, end] = members[0]?.layers ?? [0, 0];
        const weights = members.reduce((sum, rank) => sum + rank.weight_bytes, 0) || 1;
        const width = Math.max(8, (100 * (end - begin)) / Math.max(1, numLayers));
        return (
          <div class="layer-row" key={stage}>
            <span class="layer-name"><b>Stage {stage}</b>{end > begin ? `layers ${span([begin, end])}` : 'head'}</span>
            <span class="layer-track"><span class="layer-block" style={{ left: `${Math.min(92, (100 * begin) / Math.max(1, numLayers))}%`, width: `${width}%` }}>
              {members.map((rank) => (
                <span key={rank.rank} class={`layer-rank batch-${rank.rank % 6}`} style={{ height: `${Math.max(20, (members.length * 24 * rank.weight_bytes) / weights)}px` }}>
                  rank {rank.rank}<small>{rank.heads ? ` ${rank.heads} heads` : ''}</small>
                </span>
              ))}
            </span></span>
          </div>
        );
      })}
    </div>
  );
}

function RankTable({ ranks }: { ranks: RankShare[] }) {
  const most = Math.max(1, ...ranks.map(memoryOf));
  return (
    <div class="table-scroll"><table>
      <thead><tr>
        <th scope="col">Rank</th><th scope="col">Stage</th><th scope="col">Layers</th><th scope="col" class="num">Heads</th>
        <th scope="col" class="num">KV heads</th><th scope="col" class="num">FFN</th><th scope="col" class="num">Vocabulary</th>
        <th scope="col" class="num">Weights</th><th scope="col" class="num">Cache</th><th scope="col" class="num">Scratch</th><th scope="col" class="wide">Memory</th>
      </tr></thead>
      <tbody>
        {ranks.map((rank) => (
          <tr key={rank.rank}>
            <th scope="row">{rank.rank}</th><td>{rank.stage}</td><td>{span(rank.layers)}</td>
            <td class="num">{rank.heads || '–'}</td><td class="num">{rank.kv_heads || '–'}</td><td class="num">{rank.ffn || '–'}</td>
            <td class="num">{rank.vocab_rows > 0 ? count(rank.vocab_rows) : '–'}</td>
            <td class="num">{bytes(rank.weight_bytes)}</td><td class="num">{bytes(rank.kv_bytes)}</td><td class="num">{bytes(rank.step_bytes)}</td>
            <td class="wide"><span class="bar stacked" title={bytes(memoryOf(rank))}>
              <span class="part-weights" style={{ width: `${(100 * rank.weight_bytes) / most}%` }} />
              <span class="part-cache" style={{ width: `${(100 * rank.kv_bytes) / most}%` }} />
              <span class="part-scratch" style={{ width: `${(100 * rank.step_bytes) / most}%` }} />
            </span></td>
          </tr>
        ))}
      </tbody>
    </table>
    <div class="chart-legend"><span><i class="key part-weights" />weights</span><span><i class="key part-cache" />cache</span><span><i class="key part-scratch" />scratch</span></div>
    </div>
  );
}

const kParts: [keyof StageTime, string, string][] = [
  ['busy_s', 'Busy', 'time-busy'], ['collectives_s', 'Collectives', 'time-collectives'], ['scheduler_s', 'Scheduler', 'time-scheduler'],
  ['sending_s', 'Sending', 'time-sending'], ['input_s', 'Input', 'time-input'], ['nothing_s', 'Nothing', 'time-nothing'],
];

function TimeSplit({ stages, pooled, window_s }: { stages: StageTime[]; pooled: boolean; window_s: number }) {
  if (stages.length === 0 || window_s <= 0) return <p class="notice">Nothing was measured yet.</p>;
  return (
    <>
      <p class="hint">Of the last {window_s.toFixed(0)} s, by the clock of each rank. “Nothing” includes the time without requests.</p>
      <div class="table-scroll"><table>
        <thead><tr><th scope="col">{pooled ? 'Pool' : 'Stage'}</th><th scope="col" class="wide">Time</th>
          {kParts.map(([key, name]) => <th scope="col" class="num" key={key}>{name}</th>)}</tr></thead>
        <tbody>
          {stages.map((stage, index) => {
            const whole = stage.window_s || 1;
            return (
              <tr key={index}>
                <th scope="row">{pooled ? `ranks ${span(stage.ranks)}` : index}</th>
                <td class="wide"><span class="bar stacked">{kParts.map(([key, , name]) => (
                  <span key={key} class={name} style={{ width: `${(100 * (stage[key] as number)) / whole}%` }} />))}</span></td>
                {kParts.map(([key]) => <td class="num" key={key}>{percent((stage[key] as number) / whole, 1)}</td>)}
              </tr>
            );
          })}
        </tbody>
      </table></div>
      <div class="chart-legend">{kParts.map(([key, name, look]) => <span key={key}><i class={`key ${look}`} />{name.toLowerCase()}</span>)}</div>
    </>
  );
}
