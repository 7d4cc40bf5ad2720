// A line without axes: how a number went over the last looks, the newest at the right.
interface Props { values: number[]; length: number; most?: number }

export function Sparkline({ values, length, most }: Props) {
  const top = most ?? Math.max(1, ...values);
  const points = values.map((value, index) => {
    const x = 100 - ((values.length - 1 - index) * 100) / (length - 1);
    return `${x.toFixed(2)},${(23 - 22 * Math.min(1, value / top)).toFixed(2)}`;
  });
  return (
    <svg class="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      {points.length > 1 && <polyline points={points.join(' ')} />}
    </svg>
  );
}
