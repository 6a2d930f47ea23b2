"""A trained recogniser behind HTTP: `POST /v1/audio/transcriptions` as OpenAI's clients send it, plus keyword lists.

upload (what a request holds) → engine (queue, micro-batches, the model) → sap2.transcripts (json, text, srt, vtt);
`app` joins them, `models` says which model is served and fetches a new champion, `server` runs it all until it ends.
"""
