"""Reading calls of functions out of the text of an answer, while it comes: one reader for each syntax."""
