"""Translation beside CTranslate2 and Optimum: in process, with the same weights, texts, lengths and cores."""
