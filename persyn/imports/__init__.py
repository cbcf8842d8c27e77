"""In: from a user's files to prompt sets and answers. Read (lines, reader), judge (the records), store."""
