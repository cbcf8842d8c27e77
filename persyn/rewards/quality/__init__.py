"""The quality of an answer: one kind of scorer a file."""
