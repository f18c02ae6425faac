"""What an answer says: its JSON, and the sentences beside it."""
