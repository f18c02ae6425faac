"""From `questions` to answers, in one pass for many (`answering`).

`selection` says which entries take part, `ranking` finds the nearest of them exactly, `pictures`
finds the same picture by hash. `entry_rows` and `corpus_ids` hold what SQL says meanwhile. `as_of`
searches an earlier generation.
"""
