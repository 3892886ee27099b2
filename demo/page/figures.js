// How figures are written, as the project's charts and tables write them.

export const ABSENT = "–";

// Python's rounding.
const rounding = (digits) => new Intl.NumberFormat("en-US", { ...digits, roundingMode: "halfEven" });
const whole = rounding({ maximumFractionDigits: 0 });
const oneDecimal = rounding({ maximumFractionDigits: 1 });
const twoPlaces = rounding({ maximumSignificantDigits: 2 });

export function formatFigure(value) {
  if (value === null) return ABSENT;
  if (value === 0 || Math.abs(value) >= 9.95) return whole.format(value);
  return (Math.abs(value) >= 0.995 ? oneDecimal : twoPlaces).format(value);
}

export const formatMs = (value) => `${value.toFixed(2)} ms`;

// A percentile below its sample floor is not reported.
export function formatPercentile(value, floor) {
  return value === null ? `n < ${floor}` : formatFigure(value);
}

export const formatPercent = (share) => (share === null ? ABSENT : `${whole.format(100 * share)} %`);
