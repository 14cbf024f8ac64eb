"""Domain sets: what makers of captioned pictures of one domain share."""
