"""Reading and writing of little-endian bytes, pure and bounds-checked; and what is text."""
