"""The index in memory and on disk. It answers searches quickly, follows the change log, and can be
rebuilt from `index.truth` at any time.

- `live`: the whole, as a process holds it. `explain` says in words what it does.
- `searching`: from questions to answers, in one pass for many.
- `segments`: what is searched, a sealed and a growing segment, and how a change enters them.
- `vectors`: rows and codes, the only modules that call FAISS.
- `plans`: which plan searches use, its recall, and what each costs on this corpus.
- `snapshots`: the files, how they are opened, and how they are built.
- `following`: staying at the newest state.
"""
