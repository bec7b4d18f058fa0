"""The backend that computes with llama.cpp. Only this package imports it, and only ever inside a worker process."""
