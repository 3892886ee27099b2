"""Both tasks in process compared with other engines: same weights, texts, lengths and cores."""
