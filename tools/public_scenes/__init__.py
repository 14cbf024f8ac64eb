"""The public scenes of the field: where their archives are, fetching them, unpacking them."""
