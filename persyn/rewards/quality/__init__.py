"""How good an answer is: one kind of scorer a file."""
