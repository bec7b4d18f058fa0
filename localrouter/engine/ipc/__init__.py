"""The worker process of a model, and the messages between it and the serving process."""
