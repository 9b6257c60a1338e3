"""The neighbours and the ground that tests stand on: real servers, real databases."""
