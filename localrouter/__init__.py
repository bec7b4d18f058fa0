"""localrouter: one local endpoint that speaks OpenAI's chat completions for quantized Qwen and Gemma models."""

__version__ = "0.1.0"
