"""Look-ups: one probe, answered.

`lookup` is the whole way, for one probe or several: `probe` embeds, `questions` are what the index
is asked, `facts` are what SQL says beside it, `copies` runs the stages that find edited copies,
`index.evidence` assesses by the `limits`, `answer` writes the JSON with its `words`.
`copy_words` and `stage_words` word what those found.
`stored` reads an answer again, and `replay` recomputes it. `request` is what is asked for; `json`,
`copies_json`, `views_json`, `evidence_json`, `robustness_json` and `method_json` are the answer.
"""
