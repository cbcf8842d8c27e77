"""The policies that choose the teacher of each prompt."""
