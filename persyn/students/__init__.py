"""A student that learns a run's set: answers as token rows, the training, and the files that come of it."""
