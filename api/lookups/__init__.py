"""One probe answered:

`probe` embeds it, `questions` are searched, `answer` is written, `replay` repeats.
"""
