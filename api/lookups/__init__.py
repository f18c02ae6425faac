"""Look-ups: one probe, answered.

`lookup` is the whole way, for one probe or several: `probe` embeds, `questions` are what the index
is asked, `facts` are what SQL says beside it, `copies` runs the stages that find edited copies,
`index.evidence` assesses by the `limits`, `answer` makes the answer of a `request`.

- `answers`: what an answer says, as JSON and in sentences.
- `batches`: many probes at once.
- `replays`: a `stored` answer, computed again.
"""
