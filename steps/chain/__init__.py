"""The chain: its tasks in their order, and the keys by which finished work is reused."""
