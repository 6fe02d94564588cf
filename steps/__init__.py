"""The entry points of MLproject, one module each, and what they share of MLflow: tracked shells around tabular/."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
