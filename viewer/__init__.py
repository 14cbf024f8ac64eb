"""People who look: a model in the browser, and a training while it runs."""
