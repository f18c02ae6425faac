"""Which plan searches use: its `config`, its `recall`, and the `comparison` of what plans cost."""
