"""Other packages' interfaces over treadle: leaves that import downwards; nothing imports them."""
