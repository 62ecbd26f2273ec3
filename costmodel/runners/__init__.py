"""Runners: one file or folder per runtime, each an entry point."""
