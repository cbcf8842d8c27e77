"""The learnability of an answer: its measures, and the student that they ask."""
