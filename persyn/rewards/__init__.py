"""What an answer is worth to a student: its quality, its learnability, and the two combined."""
