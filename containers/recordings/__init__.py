"""Recorded terminals: one asciicast for each shell that a browser opened (docs/recordings.md)."""
