"""Models of any origin: finding, loading, saving, prompts, tokenizers, precision and vectors."""
