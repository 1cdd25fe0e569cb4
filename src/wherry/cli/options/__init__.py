"""The flags of `run` and `create`, and how they become the body of `POST /containers/create`."""
