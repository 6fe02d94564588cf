"""The pictures, one module a subject."""
