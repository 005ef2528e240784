"""Measures what a GPU really delivers under vLLM: server -> load -> raw records -> statistics -> curve."""
