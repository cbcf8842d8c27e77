"""From a user's files to prompt sets: reading (lines, reader), judging (validate, rejects), storing (load)."""
