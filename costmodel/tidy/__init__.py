"""Other people's rows: what their columns and words mean, and the Ops that they are about."""
