"""Contract checks that any server of OpenAI's chat completions can be held against, through the openai client."""
