"""HTTP server for a trained recogniser: OpenAI's `POST /v1/audio/transcriptions`, extended by keyword lists.

upload (parsing of requests) → engine (queue, micro-batches, the model) → sap2.transcripts (json, text, srt, vtt).
`app` combines them, `models` resolves and loads the served model, `server` runs the process.
"""
