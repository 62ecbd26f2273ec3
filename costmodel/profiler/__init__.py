"""The profiler: rounds, a worker process, a lock, resume."""
