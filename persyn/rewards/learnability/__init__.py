"""How well the student can learn an answer."""
