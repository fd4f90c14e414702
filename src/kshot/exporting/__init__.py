"""Adapted tasks as graphs that run elsewhere: ONNX files and `torch.export` programs."""

from kshot.exporting.graph import TaskGraph, program
from kshot.exporting.onnx_file import OPSET, onnx_bytes, write_onnx

__all__ = ["OPSET", "TaskGraph", "onnx_bytes", "program", "write_onnx"]
