"""The field's protocols, and running them: scenes x view counts x variants x seeds, for full_eval.py."""
