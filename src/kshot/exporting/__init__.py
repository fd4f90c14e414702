"""Adapted tasks as graphs that run elsewhere (ONNX files, `torch.export` programs), and encoders that run faster here."""

from kshot.exporting.graph import TaskGraph, program
from kshot.exporting.inference import optimize_for_inference
from kshot.exporting.onnx_file import OPSET, onnx_bytes, write_onnx

__all__ = ["OPSET", "TaskGraph", "onnx_bytes", "optimize_for_inference", "program", "write_onnx"]
