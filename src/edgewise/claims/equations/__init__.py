"""Claims that a layer computes an equation, written out with plain torch."""
