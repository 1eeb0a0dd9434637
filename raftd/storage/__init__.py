"""Synchronous storage: write-ahead log and data directory behind one small file-system seam."""
