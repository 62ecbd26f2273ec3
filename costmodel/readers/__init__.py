"""Readers: one file per model format, each giving the same neutral Network."""
