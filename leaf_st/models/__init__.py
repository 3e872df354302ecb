"""Models of any origin: finding, loading, saving, prompts, tokenizers and precision."""
