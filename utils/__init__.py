"""Small functions used twice or more; each file is a subject."""
