"""Cost models: one file per way to price an Op."""
