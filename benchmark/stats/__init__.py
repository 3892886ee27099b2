"""From kept requests to figures, intervals and verdicts."""
