"""From the messages of a request to the prompt of a model, by its chat template."""
