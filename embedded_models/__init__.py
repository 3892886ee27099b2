"""The small trained models that work with no network, and the programs that trained and measured them."""
