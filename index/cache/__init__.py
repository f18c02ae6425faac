"""The index in memory and on disk. It answers searches quickly, follows the change log, and can be
rebuilt from `index.truth` at any time.

- A question and its answer: `searching`. How it is answered: `answering`, in one pass for many
  questions, by `selection` (which entries), `ranking` (the nearest of them, exactly), `pictures`
  (the same picture by hash). What is held of SQL meanwhile: `entry_rows`, `corpus_ids`. An earlier
  generation: `as_of`.
- What is searched: `view`, a `sealed` and a `growing` segment (`segments`), each with `rows`,
  `facts` and `marks`. FAISS is called in `products` (exact) and `codes` (compressed).
- Which plan searches use: `config`, `recall`, `planning`, `comparison`; in words: `explain`.
- On disk: `snapshots`, `manifest`, `saved_hashes`; `folder` opens them, `building` writes them.
- Staying at the newest state: `live` is the whole; `current`, `replay`, `folding`, `upkeep` and
  `maintenance` are its parts.
"""
