"""What requests and answers hold, for checking and for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

Input = Annotated[
    Any, Field(description="a text, a row of numbers, or a PNG, JPEG or WEBP as base64, as the base takes it")
]
Label = Annotated[
    Any,
    Field(description="a string, whole number or boolean for classes; a number or a row of them for numbers"),
]


class Strict(BaseModel):
    """A body in which an unknown field is a mistake that is told."""

    model_config = ConfigDict(extra="forbid")


class Example(Strict):
    """An input with its label."""

    input: Input
    label: Label
    golden: bool = Field(False, description="not learned from; it must stay right, see check")


class Teach(Strict):
    """What a model is made of."""

    base: str = Field(max_length=64, description="one of those that the server serves")
    examples: list[Example] = Field(min_length=1)
    name: str = Field("", max_length=200)


class Examples(Strict):
    """Labelled examples."""

    examples: list[Example] = Field(min_length=1)


class Questions(Strict):
    """Examples to check; None: the golden ones that the model carries."""

    examples: list[Example] | None = Field(None, min_length=1)


class Inputs(Strict):
    """Inputs to answer."""

    inputs: list[Input] = Field(min_length=1)


class OneInput(Strict):
    """An input to explain."""

    input: Input


class Pool(Strict):
    """Inputs of which some are to be labelled."""

    inputs: list[Input] = Field(min_length=1)
    count: int = Field(10, ge=1, le=1000)


class Feedback(Strict):
    """What is known of an answer: the right label, or only whether the answer was good."""

    input: Input
    label: Label = Field(None, description="what is right; it becomes an example")
    answer: Label = Field(None, description="what was answered")
    good: bool | None = Field(None, description="whether `answer` was right")


class BaseName(Strict):
    """A base to move to."""

    base: str = Field(max_length=64)


class Renamed(Strict):
    """A new name for a model."""

    name: str = Field(max_length=200)


class Relabelled(Strict):
    """A class and its new name."""

    old: str | bool | int = Field(alias="from")
    new: str | bool | int = Field(alias="to")


class Told(BaseModel):
    """An answer. Fields may be added to it, none is taken away."""

    model_config = ConfigDict(extra="allow")


class Taught(Told):
    """A model after a change."""

    id: str
    version: int
    base: str
    classes: list[Any]
    n_examples: int
    examples: list[Any]


class Predicted(Told):
    """One prediction per input, in the form of the model's space."""

    predictions: list[dict[str, Any]]
    version: int


class Model(Told):
    """A model as it is listed."""

    id: str
    name: str
    base: str
    version: int
    made: float


class Models(Told):
    """A page of models; `cursor` leads to the next, null: there is none."""

    models: list[Model]
    cursor: str | None


class Version(Told):
    """A version of a model."""

    version: int
    base: str
    n_examples: int


class Versions(Told):
    """A page of versions, the newest first."""

    versions: list[Version]
    cursor: str | None


class Shown(Told):
    """An example without its input."""

    id: str
    label: Any


class ShownExamples(Told):
    """A page of examples."""

    examples: list[Shown]
    version: int
    cursor: str | None


class Reasons(Told):
    """Why an input is answered as it is."""

    label: Any
    evidence: list[dict[str, Any]]
    version: int


class Checked(Told):
    """How many answers are right, and which are wrong."""

    right: int
    total: int
    wrong: list[Any]
    version: int


class Suggestions(Told):
    """What to label next, the most useful first."""

    suggestions: list[dict[str, Any]]
    skipped: list[int]
    expected_error: float
    version: int


ModelId = Annotated[str, Path(pattern=r"^m_[a-z2-7]{26}$", description="as it was given when it was taught")]
ExampleId = Annotated[str, Path(pattern=r"^e[0-9]{1,9}$")]
ExampleIds = Annotated[
    list[Annotated[str, Field(pattern=r"^e[0-9]{1,9}$")]], Query(min_length=1, max_length=1000)
]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
After = Annotated[
    str, Query(max_length=40, pattern=r"^[a-z0-9_]*$", description="`cursor` of the page before")
]
Limit = Annotated[int, Query(ge=1, le=200)]
IfMatch = Annotated[
    str | None, Header(max_length=200, description="the ETag of the model: change only this version")
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="a word of your own: the same request with the same word is done once and answered alike",
    ),
]
