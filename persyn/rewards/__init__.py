"""The worth of an answer to a student: its quality, its learnability, and both combined."""
