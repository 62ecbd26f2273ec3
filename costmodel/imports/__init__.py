"""Measurements that other people made: their files read into latency tables."""
