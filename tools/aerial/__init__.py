"""Aerial pictures: ground seen from straight above, as heights and colours, lit by the sun."""
