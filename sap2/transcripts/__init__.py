"""Results of recognition and their formats: text, JSON, SubRip, WebVTT and Markdown."""
