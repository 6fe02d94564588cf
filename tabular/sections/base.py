"""The base of a problem's sections."""

from pydantic import BaseModel, ConfigDict

Label = bool | int | float | str
# The end of an error about true or false, where the user may have meant a word.
YAML_BOOLEANS = "; YAML reads yes, no, on and off as true and false: put them in quotes if words are meant"


class Section(BaseModel):
    """Base of all sections of a problem: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
