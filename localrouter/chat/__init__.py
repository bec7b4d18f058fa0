"""Messages to prompt, tokens' text to answer."""
