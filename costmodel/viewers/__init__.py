"""What other people's viewers of graphs and traces read, made of a Prediction or a Comparison."""
