"""What XLA compiled: its text read, and groups of its instructions as short canonical texts."""
