"""Tables of names: weights of other libraries and the same weights in Edgewise."""
