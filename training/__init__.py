"""What train.py is made of, beside the order of events that it tells itself."""
