"""Synchronous disk code: the write-ahead log and the data directory, behind one small file-system seam."""
