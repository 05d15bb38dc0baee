"""Makes the fixtures of tests/data with transformers' own classes. Not part of the engine: no test runs it."""
