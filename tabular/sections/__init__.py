"""The sections of a problem's YAML, each validated by itself."""
