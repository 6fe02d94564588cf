"""The chain: its tasks in their order, the keys by which finished work is found again."""
