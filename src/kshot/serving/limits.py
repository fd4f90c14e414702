"""How much a service lets anybody ask of it. Each limit is an option of this class and an environment variable."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIB = 2**20


class Limits(BaseSettings):
    """Limits of a service. `KSHOT_BODY_BYTES=1000000` in the environment sets `body_bytes`, and so on.

    Rates and the number of models hold for each tenant that has a key; without keys there is one tenant, you.

    >>> Limits(queue=8).queue
    8
    """

    model_config = SettingsConfigDict(env_prefix="KSHOT_", frozen=True, extra="forbid")

    body_bytes: int = Field(default=20 * _MIB, ge=1, description="of one request")
    bodies_bytes: int = Field(default=256 * _MIB, ge=1, description="of all requests that are being read")
    examples: int = Field(default=1000, ge=2, description="of a model, and of a request")
    classes: int = Field(default=200, ge=2, description="of a model")
    inputs: int = Field(default=256, ge=1, description="of a question")
    pool: int = Field(default=1000, ge=1, description="inputs to choose the next to label from")
    label_characters: int = Field(default=200, ge=1, description="of a label or a name")
    text_characters: int = Field(default=20_000, ge=1, description="of an input")
    image_bytes: int = Field(default=8 * _MIB, ge=1, description="of an input")
    image_pixels: int = Field(default=25_000_000, ge=1, description="of an input")
    header_bytes: int = Field(default=_MIB, ge=1000, description="of an imported file's own header")
    queue: int = Field(default=1024, ge=1, description="requests in work or waiting")
    request_seconds: float = Field(default=60.0, gt=0, description="from the first byte to the answer")
    silence_seconds: float = Field(default=10.0, gt=0, description="without a byte while one is expected")
    drain_seconds: float = Field(default=4.0, ge=0, description="of answering on after SIGTERM")
    models: int = Field(default=10_000, ge=1, description="of a tenant")
    adapts_per_second: float = Field(default=5.0, gt=0, description="of a tenant, twice that in a burst")
    predicts_per_second: float = Field(default=50.0, gt=0, description="of a tenant, twice that in a burst")
    match_required: bool = Field(default=False, description="whether every change must carry If-Match")
