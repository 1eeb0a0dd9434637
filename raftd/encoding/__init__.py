"""Bounds-checked reading and writing of fixed binary layouts."""
