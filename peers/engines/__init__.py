"""Translation in process compared with CTranslate2 and Optimum: same weights, texts, lengths and cores."""
