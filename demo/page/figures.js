// How figures are written, as the project's charts and tables write them.

export const ABSENT = "–";

export function formatFigure(value) {
  if (value === null || !Number.isFinite(value)) return ABSENT;
  if (value === 0 || Math.abs(value) >= 9.95) return Math.round(value).toLocaleString("en-US");
  if (Math.abs(value) >= 0.995) return value.toFixed(1).replace(/\.0$/, "");
  return String(Number(value.toPrecision(2)));
}

export const formatMs = (value) => `${value.toFixed(2)} ms`;

// A percentile below its sample floor is not reported.
export function formatPercentile(value, floor) {
  return value === null ? `n < ${floor}` : formatFigure(value);
}
