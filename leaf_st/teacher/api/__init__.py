"""A teacher behind an HTTP API with the interface of OpenAI."""
