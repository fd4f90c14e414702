"""The service over HTTP: /v1 resources, problem+json, keys, health, metrics, the Open Inference Protocol."""

from kshot.serving.http.app import App, create_app
from kshot.serving.http.keys import make_key

__all__ = ["App", "create_app", "make_key"]
