"""The entry points of MLproject, one module each, and the MLflow code that they share. The work is done in tabular/."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
