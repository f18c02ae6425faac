"""HTTP, terminal, page and settings: the only place where `embedder` and `index` meet."""
