"""What a network loses its milliseconds to, and what would bring some back, each advice checked."""
